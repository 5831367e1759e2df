// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Device
import Glibc
import Models
import Program
import Step
import TestSupport
import Testing

/// Products of 8-bit activations and 8- or 4-bit weights.
@Suite struct CPUCodesTests {
  static let precisions = [CPUPrecision.w8, .w4]
  static let cases = CPULevel.available.flatMap { level in precisions.map { (level, $0) } }
  /// Inner widths below, at and above the groups, and not multiples of four; columns that leave
  /// panels and units unfinished.
  static let shapes: [(inner: Int, columns: Int)] = [
    (1, 1), (30, 17), (32, 16), (129, 65), (256, 200), (643, 33), (1700, 80),
  ]
  /// Around the sizes of register tiles, and beyond any of them.
  static let rowCounts = [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 20, 21, 29, 40, 41, 100]

  /// A program of one embedding and one linear, with as many rows as it gets tokens.
  static func linear(
    inner: Int, columns: Int, table name: String = "table"
  ) -> (Program, table: Weight, matrix: Weight) {
    var builder = ProgramBuilder()
    let (table, matrix) = (Weight(name, [columns, inner]), Weight("matrix", [columns, inner]))
    let input = builder.embed(table)
    var result = input
    builder.layer { result = $0.linear(input, matrix) }
    let outputs = builder.selectOutputs(result)
    let program = builder.finish(
      name: "linear", vocabularySize: columns, contextLength: 128, logits: outputs)
    return (program, table, matrix)
  }

  @Test(arguments: cases)
  func `products equal their definition`(level: CPULevel, precision: CPUPrecision) throws {
    let weights = RandomWeights()
    for shape in Self.shapes {
      let (program, table, matrix) = Self.linear(inner: shape.inner, columns: shape.columns)
      let codes = precision == .w8 ? CPUCodes.w8 : .w4
      let rows = try Self.rows(of: table, weights).map(CPUCodes.activations.rounded)
      let columns = try Self.rows(of: matrix, weights).map(codes.rounded)
      let device = try CPUDevice(.init(precision: precision, threadCount: 2, level: level))
      var run = try CPUModelRun(program, weights, on: device)
      for count in Self.rowCounts {
        let tokens = (0..<count).map { Int32($0 * 7 % shape.columns) }
        let expected = tokens.flatMap { token in
          columns.map { Self.product(rows[Int(token)], $0) }
        }
        let actual = try run.logits(CPUModelRun.plan([(0, tokens, 0)]))
        let scale = expected.reduce(Float.leastNormalMagnitude) { max($0, abs($1)) }
        let difference = largestDifference(actual, expected) / scale
        #expect(difference < 1e-5, "\(shape), \(count) rows: \(difference)")
      }
    }
  }

  /// With a scale for each 128 the error would be several times as large.
  @Test(arguments: cases)
  func `what a gated unit gives has a scale for each 32`(
    level: CPULevel, precision: CPUPrecision
  ) throws {
    let (width, inner) = (150, 330)
    var builder = ProgramBuilder()
    let gate = Weight("gate", [inner, width])
    let up = Weight("up", [inner, width])
    let (table, down) = (Weight("table", [width, width]), Weight("down", [width, inner]))
    let input = builder.embed(table)
    var result = input
    builder.layer {
      let unit = $0.swiglu(gate: $0.linear(input, gate), up: $0.linear(input, up))
      result = $0.linear(unit, down)
    }
    let outputs = builder.selectOutputs(result)
    let program = builder.finish(
      name: "gated", vocabularySize: width, contextLength: 128, logits: outputs)
    let weights = RandomWeights()
    let codes = precision == .w8 ? CPUCodes.w8 : .w4
    let matrices = try [gate, up, down].map { try Self.rows(of: $0, weights).map(codes.rounded) }
    let device = try CPUDevice(.init(precision: precision, threadCount: 2, level: level))
    var run = try CPUModelRun(program, weights, on: device)
    let actual = try run.logits(CPUModelRun.plan([(0, Array(0..<100), 0)]))
    let expected = try Self.rows(of: table, weights).prefix(100).flatMap { row in
      let row = CPUCodes.activations.rounded(row)
      let gates = matrices[0].map { Self.product(row, $0) }
      let ups = matrices[1].map { Self.product(row, $0) }
      let unit = zip(gates, ups).map { $0 / (1 + exp(-$0)) * $1 }
      return matrices[2].map { Self.product(CPUCodes.gatedActivations.rounded(unit), $0) }
    }
    let error = Self.rootMeanSquare(zip(actual, expected).map { $0 - $1 })
    #expect(error / Self.rootMeanSquare(expected) < 1e-3)
  }

  static func product(_ left: [Float], _ right: [Float]) -> Float {
    var sum = 0.0
    for (a, b) in zip(left, right) { sum += Double(a) * Double(b) }
    return Float(sum)
  }

  static func rows(of weight: Weight, _ source: some WeightSource) throws -> [[Float]] {
    let all = try source.tensor(weight).dequantized()
    return (0..<weight.rows).map { Array(all[$0 * weight.columns..<($0 + 1) * weight.columns]) }
  }

  @Test(arguments: cases)
  func `batch, chunks and threads change no bit`(
    level: CPULevel, precision: CPUPrecision
  ) throws {
    for name in ["qwen2", "v3"] {
      let golden = try SyntheticCheckpoint(name)
      let checkpoint = try Checkpoint(directory: golden.directory)
      let program = try Model.program(for: checkpoint)
      func run(threads: Int) throws -> CPUModelRun {
        try CPUModelRun(
          program, checkpoint,
          on: CPUDevice(.init(precision: precision, threadCount: threads, level: level)))
      }
      var first = try run(threads: 1)
      let whole = try first.logits(of: golden.prompt, chunk: 64)
      for (threads, chunk) in [(1, 1), (2, 2), (2, 5), (1, 16), (3, 7)] {
        var other = try run(threads: threads)
        let logits = try other.logits(of: golden.prompt, chunk: chunk)
        let areEqual = bitsEqual(logits, whole)
        #expect(areEqual, "\(name), \(threads) threads, chunks of \(chunk)")
      }
      for batch in [2, 5, 16] {
        var together = try run(threads: 2)
        let plan = CPUModelRun.plan(
          (0..<batch).map { ($0, Array(golden.prompt.prefix(3 + $0 % 4)), 0) })
        let logits = try together.logits(plan)
        let width = program.vocabularySize
        for sequence in plan.sequences {
          let part = logits[
            sequence.rows.lowerBound * width..<sequence.rows.upperBound * width]
          let areEqual = bitsEqual(Array(part), Array(whole.prefix(part.count)))
          #expect(areEqual, "batch \(batch)")
        }
      }
    }
  }

  @Test(arguments: precisions)
  func `levels with fused multiply-adds give the same bits, and portable nearly`(
    precision: CPUPrecision
  ) throws {
    for name in ["qwen2", "llama3", "v2-groups", "v3-fp8"] {
      let golden = try SyntheticCheckpoint(name)
      let checkpoint = try Checkpoint(directory: golden.directory)
      let program = try Model.program(for: checkpoint)
      let logits = try CPULevel.available(for: .f32).map { level in
        let device = try CPUDevice(.init(precision: precision, threadCount: 2, level: level))
        var run = try CPUModelRun(program, checkpoint, on: device)
        #expect(device.summary.contains(precision.rawValue))
        return try run.logits(of: golden.prompt, chunk: 64)
      }
      for other in logits.dropFirst(2) {
        let areEqual = bitsEqual(other, logits[1])
        #expect(areEqual, "\(name)")
      }
      // A rounding apart in f32, an activation may fall to the next code.
      if let last = logits.last {
        let difference = Self.rootMeanSquare(zip(last, logits[0]).map { $0 - $1 })
        #expect(difference / Self.rootMeanSquare(last) < 0.02, "\(name)")
      }
    }
  }

  static func rootMeanSquare(_ values: [Float]) -> Float {
    (values.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot()
  }

  @Test func `what is not a number stays none, beside rows that are`() throws {
    let (program, table, matrix) = Self.linear(inner: 256, columns: 32)
    for broken in [table, matrix] {
      let weights = BrokenWeights(broken: broken.name, element: 3 * 256 + 200)
      for precision in Self.precisions {
        let device = try CPUDevice(.init(precision: precision, threadCount: 1))
        var run = try CPUModelRun(program, weights, on: device)
        let logits = try run.logits(CPUModelRun.plan([(0, [3, 4], 0)]))
        // Row 3 of the table is the first row, row 3 of the matrix the fourth column.
        for (index, value) in logits.enumerated() {
          let isBroken = broken == table ? index < 32 : index % 32 == 3
          #expect(value.isNaN == isBroken, "\(broken.name) \(precision) at \(index)")
        }
      }
    }
  }

  /// Random weights, one element of one of them infinite.
  private struct BrokenWeights: WeightSource {
    var broken: String
    var element: Int

    func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
      let tensor = try RandomWeights().tensor(weight)
      guard weight.name == broken else { return tensor }
      let bytes = UnsafeMutableRawBufferPointer(mutating: tensor.bytes)
      bytes.storeBytes(of: Float.infinity, toByteOffset: element * 4, as: Float.self)
      return tensor
    }
  }
}
