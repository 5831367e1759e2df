// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADevice
import Checkpoint
import Device
import Models
import Program
import Step
import Support
import TestSupport
import Testing

/// Products of FP8 weights with FP8 activations on an emulated GPU that has `wgmma` (0).
@Suite struct CUDAFloat8Tests {
  /// Inner widths below, at and above spans of 128 columns, and more spans than parts; rows that
  /// leave tiles and blocks unfinished.
  private static let shapes: [(inner: Int, columns: Int)] = [
    (1, 1), (30, 17), (128, 16), (129, 65), (643, 33), (1_700, 80),
  ]
  /// One, those of each kernel and one more, whole blocks of tokens and a part of one.
  private static let rowCounts = [1, 2, 8, 9, 16, 17, 32, 33, 64, 65, 128, 150]

  /// Tokens as sequences of up to 60.
  private static func plan(_ tokens: [Int32]) -> StepPlan {
    let parts = stride(from: 0, to: tokens.count, by: 60).map {
      Array(tokens[$0..<min(tokens.count, $0 + 60)])
    }
    return CPUModelRun.plan(parts.enumerated().map { ($0.offset, $0.element, 0) })
  }

  private static func run(
    _ program: Program, _ weights: any WeightSource, rowCountMax: Int = 160
  ) throws -> CPUModelRun {
    try CPUModelRun(program, weights, on: EmulatedGPU.device(.fp8a8), rowCountMax: rowCountMax)
  }

  // MARK: The definition

  @Test(arguments: shapes)
  func `products are those of the codes, the same bits for any rows`(
    shape: (inner: Int, columns: Int)
  ) throws {
    let weights = RandomWeights()
    let (program, table, matrix) = CPUCodesTests.linear(inner: shape.inner, columns: shape.columns)
    let inputs = try CPUCodesTests.rows(of: table, weights).map { Float8Row($0) }
    let rows = Float8Row.matrix(try CPUCodesTests.rows(of: matrix, weights))
    let products = inputs.map { input in rows.map { input.product(with: $0) } }
    var run = try Self.run(program, weights)
    for count in Self.rowCounts {
      let tokens = (0..<count).map { Int32($0 * 7 % shape.columns) }
      let expected = tokens.flatMap { products[Int($0)] }
      let actual = try run.logits(Self.plan(tokens))
      // The emulation adds in order of k.
      let areEqual = bitsEqual(actual, expected.map(\.inOrder))
      #expect(areEqual, "\(count) rows: \(largestDifference(actual, expected.map(\.inOrder)))")
      let areNear = zip(actual, expected).allSatisfy { abs(Double($0) - $1.exact) <= $1.bound }
      #expect(areNear, "\(count) rows")
    }
  }

  /// Rows of one span with the largest magnitude 448, so that the scale is 1: all codes, what lies
  /// between two of them, near that, and below the smallest.
  private static let hardRows: [[Float]] = {
    let codes = (UInt8(0)...0x7E).map { Float(float8e4m3Bits: $0) }
    let middles = zip(codes, codes.dropFirst()).map { ($0 + $1) / 2 }
    let tiny: [Float] = [0, -0.0, 0x1p-10, 0x1p-11, 0x1p-140, .leastNonzeroMagnitude]
    let rows = [
      codes, middles, middles.map(\.nextUp), middles.map { -$0.nextDown }, middles.map { -$0 },
      tiny,
    ]
    return rows.map { [448] + $0 + [Float](repeating: 0, count: 127 - $0.count) }
  }()

  /// A matrix that gives each column by itself.
  @Test(arguments: [1, 9, 80])
  func `codes are the nearest, of two the even`(count: Int) throws {
    let (program, table, matrix) = CPUCodesTests.linear(inner: 128, columns: 128)
    let scales: [Float] = [1, 0x1p-60, 3, 1e-8, 1e-30, 0]
    let given = (0..<128).map { row in
      Self.hardRows[row % Self.hardRows.count].map {
        $0 * scales[row / Self.hardRows.count % scales.count]
      }
    }
    let identity = (0..<128).map { row in (0..<128).map { Float($0 == row ? 1 : 0) } }
    let weights = GivenWeights(rows: [table.name: given, matrix.name: identity])
    let columns = Float8Row.matrix(identity)
    var run = try Self.run(program, weights)
    for first in stride(from: 0, to: 128, by: count) {
      let tokens = (first..<min(128, first + count)).map(Int32.init)
      let expected = tokens.flatMap { token in
        let input = Float8Row(given[Int(token)])
        return columns.map { input.product(with: $0).inOrder }
      }
      let areEqual = bitsEqual(try run.logits(Self.plan(tokens)), expected)
      #expect(areEqual, "rows from \(first) on")
    }
  }

  /// What torch makes of stored codes and scales with activations that it rounds, in V3's way, and
  /// with scales that are powers of two. Here a product has another order.
  @Test(arguments: ["plain", "ue8m0"])
  func `products are those of torch`(name: String) throws {
    let checkpoint = try Checkpoint(
      directory: Repository.path("Tests/DeviceTests/Goldens/float8/\(name)"))
    var builder = ProgramBuilder()
    let input = builder.embed(Weight("rows", [19, 300]))
    var result = input
    builder.layer { result = $0.linear(input, Weight("matrix.weight", [150, 300])) }
    let outputs = builder.selectOutputs(result)
    let program = builder.finish(
      name: "linear", vocabularySize: 150, contextLength: 128, logits: outputs)
    let expected = try checkpoint.tensor(Weight("expected", [19, 150])).dequantized()
    var run = try Self.run(program, checkpoint)
    let largest = expected.reduce(0) { max($0, abs($1)) }
    for chunk in [1, 19] {
      let actual = try run.logits(of: Array(0..<19), chunk: chunk)
      let difference = largestDifference(actual, expected) / largest
      #expect(difference <= 2e-6, "chunks of \(chunk): \(difference)")
    }
  }

  @Test func `what is not a number stays none, beside rows that are`() throws {
    let (program, table, matrix) = CPUCodesTests.linear(inner: 256, columns: 32)
    var given = try CPUCodesTests.rows(of: table, RandomWeights())
    let rows = try CPUCodesTests.rows(of: matrix, RandomWeights())
    for broken in [Float.infinity, .nan] {
      given[3][200] = broken
      let weights = GivenWeights(rows: [table.name: given, matrix.name: rows])
      for count in [2, 12, 40, 70] {
        var run = try Self.run(program, weights)
        let tokens = (0..<count).map { Int32($0 == 1 ? 3 : 4 + $0 % 20) }
        let logits = try run.logits(Self.plan(tokens))
        for (row, start) in stride(from: 0, to: logits.count, by: 32).enumerated() {
          let isRight = logits[start..<start + 32].allSatisfy { $0.isNaN == (row == 1) }
          #expect(isRight, "row \(row) of \(count)")
        }
      }
    }
  }

  // MARK: Operations

  /// Steps of few rows, of each kernel for batches, and of prompts.
  @Test(arguments: CUDAPrefillTests.cases)
  func `few rows, batches and prompts have the same bits`(operation: OperationCase) throws {
    func results(chunk: Int) throws -> [Float] {
      try DeviceDriver(operation.program, RandomWeights(), on: [try EmulatedGPU.device(.fp8a8)])
        .results(of: operation.sequences, chunk: chunk).flatMap { $0 }
    }
    let prompt = try results(chunk: .max)
    let isWhole = prompt.allSatisfy { $0.isFinite }
    #expect(isWhole)
    // Four sequences: steps of up to 4, 12, 32 and 64 rows.
    for chunk in [1, 3, 8, 16] {
      let areEqual = bitsEqual(try results(chunk: chunk), prompt)
      #expect(areEqual, "chunks of \(chunk)")
    }
  }

  /// A code is off by a sixteenth at most; of a product's errors most cancel, and a chain of
  /// products has those of each. What attention reads are products.
  private static func tolerance(_ operation: OperationCase) -> Float {
    let multiplies = ["linear", "experts", "gated", "norm of", "swiglu", "add", "join"]
    let hasProducts = multiplies.contains(where: operation.name.hasPrefix)
    return hasProducts || operation.hasAttention ? 0.1 : 3e-5
  }

  @Test(arguments: OperationCase.all)
  func `each operation is near the reference`(operation: OperationCase) throws {
    let weights = RandomWeights(type: .bfloat16)
    for chunk in [Int.max, 7] {
      let difference = try operation.largestDifference(
        of: try EmulatedGPU.device(.fp8a8), weights: weights, chunk: chunk)
      #expect(difference <= Self.tolerance(operation), "chunks of \(chunk): \(difference)")
    }
  }

  // MARK: Models

  /// transformers with such products, of everything that is stored in FP8. A GPU keeps keys and
  /// values in bfloat16 and the head in FP8, which moves activations to the next code now and then
  /// and routers to other experts, so the median row is looked at.
  @Test func `logits are nearer those of FP8 products than those of others`() throws {
    let golden = try SyntheticCheckpoint("v3-fp8")
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let device = try EmulatedGPU.device(.fp8a8)
    var run = try CPUModelRun(program, checkpoint, on: device)
    #expect(device.summary.contains("fp8 and fp8a8"), "\(device.summary)")
    let logits = try run.logits(of: golden.prompt, chunk: 64)
    let width = program.vocabularySize
    func error(from expected: [Float]) -> Float {
      stride(from: 0, to: logits.count, by: width).map { start in
        let row = start..<start + width
        return CPUCodesTests.rootMeanSquare(zip(logits[row], expected[row]).map { $0 - $1 })
          / CPUCodesTests.rootMeanSquare(Array(expected[row]))
      }.sorted()[golden.prompt.count / 2]
    }
    let own = error(from: try #require(golden.float8Logits))
    let others = error(from: golden.logits)
    #expect(own <= 0.6 * others, "\(own), of others \(others)")
  }

  @Test func `a GPU without such products refuses them and says what it has`() throws {
    let error = #expect(throws: DeviceError.self) { try EmulatedGPU.device(gpu: 1, .fp8a8) }
    let message = error?.message ?? ""
    #expect(error?.code == .failedPrecondition)
    for word in ["cuda:1", "compute capability 80", "fp8a8 needs 90", "expected precision fp8"] {
      #expect(message.contains(word), "\(message)")
    }
  }
}

/// Rows that are given.
private struct GivenWeights: WeightSource {
  var rows: [String: [[Float]]]

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    guard let rows = rows[weight.name] else { throw WeightError("no \(weight.name)") }
    return .floats(weight, rows.flatMap { $0 })
  }
}

/// A row as e4m3, by its definition: of all codes the nearest.
private struct Float8Row {
  var values: [[Float]] = []
  var scales: [Float] = []

  struct Product {
    /// As the emulation adds it, without rounding, and how far sums of floats may be off.
    var inOrder: Float
    var exact: Double
    var bound: Double
  }

  private init() {}

  /// Activations: each 128 share a scale.
  init(_ row: [Float]) {
    for span in Self.spans(of: row) {
      append(span, scale: max(span.reduce(0) { max($0, abs($1)) }, 1e-4) / 448)
    }
  }

  /// A matrix: 128 rows and columns share a scale.
  static func matrix(_ rows: [[Float]]) -> [Float8Row] {
    stride(from: 0, to: rows.count, by: 128).flatMap { first in
      let block = rows[first..<min(rows.count, first + 128)].map { spans(of: $0) }
      var made = block.map { _ in Float8Row() }
      for span in block.first?.indices ?? 0..<0 {
        let largest = block.map { $0[span] }.joined().reduce(0) { max($0, abs($1)) }
        let scale = largest / 448
        for row in made.indices { made[row].append(block[row][span], scale: scale) }
      }
      return made
    }
  }

  private static func spans(of row: [Float]) -> [ArraySlice<Float>] {
    stride(from: 0, to: row.count, by: 128).map { row[$0..<min(row.count, $0 + 128)] }
  }

  private mutating func append(_ span: ArraySlice<Float>, scale: Float) {
    values.append(span.map { scale == 0 ? 0 : Self.nearest($0 / scale) })
    scales.append(scale)
  }

  private static let codes = (UInt8(0)...0x7E).map { Double(Float(float8e4m3Bits: $0)) }

  private static func nearest(_ value: Float) -> Float {
    let magnitude = min(448, Double(abs(value)))
    let above = codes.firstIndex { $0 >= magnitude } ?? codes.count - 1
    guard above > 0 else { return value.sign == .minus ? -0.0 : 0 }
    let (low, high) = (magnitude - codes[above - 1], codes[above] - magnitude)
    let index = low < high || (low == high && above % 2 == 1) ? above - 1 : above
    return Float(value.sign == .minus ? -codes[index] : codes[index])
  }

  /// Spans in eight parts, those of a part in order, then the parts.
  func product(with weight: Float8Row) -> Product {
    let spansOfPart = (values.count + 7) / 8
    var product = Product(inOrder: 0, exact: 0, bound: 0)
    for first in stride(from: 0, to: values.count, by: spansOfPart) {
      var sum: Float = 0
      for span in first..<min(values.count, first + spansOfPart) {
        var part: Float = 0
        var (exact, size) = (0.0, 0.0)
        for (x, w) in zip(values[span], weight.values[span]) {
          part += x * w
          exact += Double(x) * Double(w)
          size += abs(Double(x) * Double(w))
        }
        let scale = Double(scales[span]) * Double(weight.scales[span])
        sum = sum.addingProduct(weight.scales[span], part * scales[span])
        product.exact += scale * exact
        // 128 sums of a span, two scales, and the sums of all spans.
        product.bound += scale * size * Double(130 + values.count) * 0x1p-24 + 1e-44
      }
      product.inOrder += sum
    }
    return product
  }
}
