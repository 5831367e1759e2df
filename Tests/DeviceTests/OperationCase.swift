// SPDX-License-Identifier: Apache-2.0

import Device
import Program
import TestSupport
import Testing

/// A small program around one kind of operation, with sequences to run through it.
///
/// Widths are odd where a model could have them odd, so that a device's edges are met. To compare
/// a device with the reference:
///
///     @Test(arguments: OperationCase.all)
///     func `each operation equals the reference`(_ operation: OperationCase) throws {
///       #expect(try operation.largestDifference(of: CPUDevice(…)) < 1e-5)
///     }
struct OperationCase: Sendable, CustomTestStringConvertible {
  let name: String
  let program: Program
  /// Tokens of each sequence.
  let sequences: [[Int32]]

  var testDescription: String { name }

  /// A program that embeds tokens, `width` columns wide, and gives what `body` makes of them.
  init(
    _ name: String, width: Int, lengths: [Int] = [1, 9, 4, 17],
    _ body: (inout ProgramBuilder, ValueID) -> ValueID
  ) {
    self.name = name
    // A program's tokens are as many as its logits are wide: built once to learn that width.
    let vocabularySize = Self.build(name, width, vocabularySize: nil, body).vocabularySize
    program = Self.build(name, width, vocabularySize: vocabularySize, body)
    var random = SeededGenerator(seed: UInt64(name.utf8.count * 1000 + width))
    sequences = lengths.map { length in
      (0..<length).map { _ in Int32.random(in: 0..<Int32(vocabularySize), using: &random) }
    }
  }

  private static func build(
    _ name: String, _ width: Int, vocabularySize: Int?,
    _ body: (inout ProgramBuilder, ValueID) -> ValueID
  ) -> Program {
    var builder = ProgramBuilder()
    let table = Weight("\(name).embed", [vocabularySize ?? 1, width])
    let input = builder.embed(table)
    var result = input
    builder.layer { result = body(&$0, input) }
    let outputs = builder.selectOutputs(result)
    return builder.finish(
      name: name, vocabularySize: builder.width(of: outputs), contextLength: 64, logits: outputs)
  }

  /// The largest difference of a device's results from the reference device's, as a fraction of
  /// the largest result. All sequences run together, in chunks if given.
  func largestDifference(
    of device: any Device, weights: RandomWeights = RandomWeights(), chunk: Int = .max
  ) throws -> Float {
    let expected = try DeviceDriver(program, weights, on: [ReferenceDevice()])
      .results(of: sequences)
    let actual = try DeviceDriver(program, weights, on: [device])
      .results(of: sequences, chunk: chunk)
    return Self.largestDifference(actual, expected)
  }

  static func largestDifference(_ actual: [[Float]], _ expected: [[Float]]) -> Float {
    guard actual.map(\.count) == expected.map(\.count) else { return .infinity }
    let scale = expected.joined().reduce(Float.leastNormalMagnitude) { max($0, abs($1)) }
    return zip(actual.joined(), expected.joined()).reduce(0) { largest, pair in
      let difference = abs(pair.0 - pair.1) / scale
      return difference.isNaN ? .infinity : max(largest, difference)
    }
  }
}
