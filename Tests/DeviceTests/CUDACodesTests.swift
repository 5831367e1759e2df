// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADevice
import Checkpoint
import Conformance
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// Products of 8-bit weights with 8-bit activations on an emulated GPU, by `mma` and, on GPU 0 for
/// many rows, by `wgmma`.
@Suite struct CUDACodesTests {
  /// Inner widths below, at and above spans of 128 columns, and more spans than parts; rows that
  /// leave tiles and blocks unfinished.
  private static let shapes: [(inner: Int, columns: Int)] = [
    (1, 1), (30, 17), (128, 16), (129, 65), (643, 33), (1_700, 80),
  ]
  /// One, those of each kernel and one more, whole blocks of tokens and a part of one.
  private static let rowCounts = [1, 2, 5, 16, 17, 33, 65, 150]

  /// Tokens as sequences of up to 60.
  private static func plan(_ tokens: [Int32]) -> StepPlan {
    let parts = stride(from: 0, to: tokens.count, by: 60).map {
      Array(tokens[$0..<min(tokens.count, $0 + 60)])
    }
    return CPUModelRun.plan(parts.enumerated().map { ($0.offset, $0.element, 0) })
  }

  // MARK: The definition

  @Test(arguments: shapes, [0, 1])
  func `products are those of integers, bit for bit`(
    shape: (inner: Int, columns: Int), gpu: Int
  ) throws {
    let weights = RandomWeights()
    let (program, table, matrix) = CPUCodesTests.linear(inner: shape.inner, columns: shape.columns)
    let inputs = try CPUCodesTests.rows(of: table, weights).map { Codes($0, roundsScale: false) }
    let rows = try CPUCodesTests.rows(of: matrix, weights).map { Codes($0, roundsScale: true) }
    var run = try CPUModelRun(
      program, weights, on: EmulatedGPU.device(gpu: gpu, .w8a8), rowCountMax: 160)
    for count in Self.rowCounts {
      let tokens = (0..<count).map { Int32($0 * 7 % shape.columns) }
      let expected = tokens.flatMap { token in rows.map { inputs[Int(token)].product(with: $0) } }
      let actual = try run.logits(Self.plan(tokens))
      let areEqual = bitsEqual(actual, expected)
      #expect(areEqual, "\(count) rows: \(largestDifference(actual, expected))")
    }
  }

  /// A row as 8-bit integers; each 128 share a scale.
  private struct Codes {
    var codes: [[Int]] = []
    var scales: [Float] = []

    init(_ row: [Float], roundsScale: Bool) {
      for start in stride(from: 0, to: row.count, by: 128) {
        let span = row[start..<min(row.count, start + 128)]
        let largest = span.reduce(0) { max($0, abs($1)) }
        let scale = roundsScale ? (largest / 127).roundedToBFloat16 : largest / 127
        codes.append(
          span.map { value in
            let ratio = roundsScale ? value / scale : value * (127 / largest)
            return Int(max(-127, min(127, ratio.rounded(.toNearestOrEven))))
          })
        scales.append(scale)
      }
    }

    /// Spans in eight parts, those of a part in order, then the parts.
    func product(with weight: Codes) -> Float {
      let spansOfPart = (codes.count + 7) / 8
      var total: Float = 0
      for first in stride(from: 0, to: codes.count, by: spansOfPart) {
        var sum: Float = 0
        for span in first..<min(codes.count, first + spansOfPart) {
          let integer = zip(codes[span], weight.codes[span]).reduce(0) { $0 + $1.0 * $1.1 }
          sum = (weight.scales[span]).fused(times: Float(integer) * scales[span], plus: sum)
        }
        total += sum
      }
      return total
    }
  }

  @Test func `what is not a number stays none, beside rows that are`() throws {
    let (program, table, _) = CPUCodesTests.linear(inner: 256, columns: 32)
    let weights = BrokenTable(name: table.name, element: 3 * 256 + 200)
    for count in [2, 40, 70] {
      var run = try CPUModelRun(program, weights, on: EmulatedGPU.device(.w8a8))
      let tokens = (0..<count).map { Int32($0 == 1 ? 3 : 4 + $0 % 20) }
      let logits = try run.logits(Self.plan(tokens))
      for (row, start) in stride(from: 0, to: logits.count, by: 32).enumerated() {
        let isRight = logits[start..<start + 32].allSatisfy { $0.isNaN == (row == 1) }
        #expect(isRight, "row \(row) of \(count)")
      }
    }
  }

  /// Random weights, one element of one of them infinite.
  private struct BrokenTable: WeightSource {
    var name: String
    var element: Int

    func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
      let tensor = try RandomWeights().tensor(weight)
      guard weight.name == name else { return tensor }
      let bytes = UnsafeMutableRawBufferPointer(mutating: tensor.bytes)
      bytes.storeBytes(of: Float.infinity, toByteOffset: element * 4, as: Float.self)
      return tensor
    }
  }

  // MARK: Operations

  /// A code is off by half a step at most, 1/254 of the largest of its 128; of a product's errors
  /// most cancel, and a chain of products has those of each.
  private static func tolerance(_ operation: OperationCase) -> Float {
    let multiplies = ["linear", "experts", "gated", "norm of", "swiglu", "add", "join"]
    if multiplies.contains(where: operation.name.hasPrefix) { return 0.025 }
    return operation.hasAttention ? 1e-2 : 3e-5
  }

  @Test(arguments: OperationCase.all)
  func `each operation is near the reference`(operation: OperationCase) throws {
    let weights = RandomWeights(type: .bfloat16)
    for chunk in [Int.max, 7] {
      let difference = try operation.largestDifference(
        of: try EmulatedGPU.device(.w8a8), weights: weights, chunk: chunk)
      #expect(difference <= Self.tolerance(operation), "chunks of \(chunk): \(difference)")
    }
  }

  /// The sums of integers are the CPU's; what is left is the order of the spans' sums.
  @Test func `a linear is that of a CPU in w8`() throws {
    for shape in Self.shapes {
      let (program, _, _) = CPUCodesTests.linear(inner: shape.inner, columns: shape.columns)
      let devices: [any Device] = [
        try EmulatedGPU.device(.w8a8), try CPUDevice(.init(precision: .w8, threadCount: 1)),
      ]
      let tokens = (0..<20).map { Int32($0 * 7 % shape.columns) }
      let logits = try devices.map { device in
        var run = try CPUModelRun(program, RandomWeights(), on: device)
        return try run.logits(CPUModelRun.plan([(0, tokens, 0)]))
      }
      let scale = logits[1].reduce(Float.leastNormalMagnitude) { max($0, abs($1)) }
      let difference = largestDifference(logits[0], logits[1]) / scale
      #expect(difference <= 1e-6, "\(shape): \(difference)")
    }
  }

  // MARK: Models

  /// As far from transformers' logits as a CPU in w8 is, which has a scale for each 32 of what a
  /// gated unit gives. Of rows whose routers chose other experts nothing can be said, so the median
  /// row is looked at.
  @Test(arguments: SyntheticCheckpoint.names.filter { !CPUCalibratedTests.names.contains($0) })
  func `logits are as near as those of a CPU in w8`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    func error(on device: any Device) throws -> Float {
      var run = try CPUModelRun(program, checkpoint, on: device)
      let logits = try run.logits(of: golden.prompt, chunk: 64)
      let width = program.vocabularySize
      return stride(from: 0, to: logits.count, by: width).map { start in
        let row = start..<start + width
        return CPUCodesTests.rootMeanSquare(zip(logits[row], golden.logits[row]).map { $0 - $1 })
          / CPUCodesTests.rootMeanSquare(Array(golden.logits[row]))
      }.sorted()[golden.prompt.count / 2]
    }
    let gpu = try error(on: EmulatedGPU.device(.w8a8))
    let cpu = try error(on: CPUDevice(.init(precision: .w8, threadCount: 2)))
    #expect(gpu <= 1.5 * cpu + 2e-3, "\(gpu), on a CPU \(cpu)")
  }
}

extension Float {
  /// `times · self + plus`, rounded once.
  fileprivate func fused(times: Float, plus: Float) -> Float { plus.addingProduct(self, times) }
}
