// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Conformance
import Device
import Models
import Program
import Support
import TestSupport
import Testing

/// Keys and values in FP8 on an emulated GPU.
@Suite struct CUDACacheTests {
  private func results(
    of operation: OperationCase, _ weights: any WeightSource, on device: any Device,
    chunk: Int = .max
  ) throws -> [[Float]] {
    try DeviceDriver(operation.program, weights, on: [device], rowCountMax: 400)
      .results(of: operation.sequences, chunk: chunk)
  }

  // MARK: What is kept

  /// Keys and values as a table has them.
  private static func heads(
    _ heads: Int, keys: Int, width: Int, values: Int, lengths: [Int]
  ) -> OperationCase {
    OperationCase("\(keys) keys of \(width), values of \(values)", width: 24, lengths: lengths) {
      b, x in
      let q = b.linear(x, Weight("q", [heads * width, 24]))
      let kv = b.embed(Weight("kv", [heads * values, keys * (width + values)]))
      return b.attention(
        queries: Columns(q, width: width, count: heads, stride: width),
        keys: Columns(kv, width: width, count: keys, stride: width),
        values: Columns(kv, offset: keys * width, width: values, count: keys, stride: values),
        scale: 2)
    }
  }

  private static func latents(
    _ heads: Int, latent: Int, rope: Int, lengths: [Int]
  ) -> OperationCase {
    OperationCase("latents of \(latent) and \(rope)", width: 24, lengths: lengths) { b, x in
      let stride = latent + rope
      let q = b.linear(x, Weight("q", [heads * stride, 24]))
      let kv = b.embed(Weight("kv", [heads * latent, stride]))
      return b.latentAttention(
        latentQueries: Columns(q, width: latent, count: heads, stride: stride),
        ropeQueries: Columns(q, offset: latent, width: rope, count: heads, stride: stride),
        latent: Columns(kv, width: latent), ropeKey: Columns(kv, offset: latent, width: rope),
        scale: 2)
    }
  }

  /// Rows that begin everywhere, several scales of a key, windows of a prompt, V3's and Qwen's.
  private static let tables = [
    heads(6, keys: 2, width: 16, values: 23, lengths: [300, 70]),
    heads(3, keys: 3, width: 10, values: 7, lengths: [1, 13, 6, 50]),
    heads(2, keys: 1, width: 200, values: 140, lengths: [9, 70]),
    heads(4, keys: 2, width: 128, values: 128, lengths: [70, 3]),
    latents(5, latent: 33, rope: 6, lengths: [130, 20]),
    latents(10, latent: 136, rope: 8, lengths: [75, 30]),
    latents(3, latent: 300, rope: 12, lengths: [70, 2]),
    latents(16, latent: 512, rope: 64, lengths: [66, 2]),
  ]

  /// Tokens that see themselves and few others, so that keys of any size show.
  private static let alone = [
    heads(4, keys: 2, width: 20, values: 40, lengths: [1, 1, 1, 1, 2, 1, 1, 3]),
    latents(2, latent: 150, rope: 8, lengths: [1, 1, 1, 1, 2, 1, 1, 3]),
  ]

  /// Attention has no error of its own for it: the bits are those over keys and values in bf16
  /// that were rounded to what a code and its scale stand for.
  @Test(arguments: tables.map { ($0, -4...1) } + alone.map { ($0, -140...100) })
  func `FP8 gives the bits of bf16 with keys and values rounded`(
    operation: OperationCase, exponents: ClosedRange<Int>
  ) throws {
    let weights = WideTable(exponents: exponents)
    let rounded = WideTable(exponents: exponents, rounded: operation.program.attention)
    let fp8 = try EmulatedGPU.device(keys: .fp8)
    let bf16 = try EmulatedGPU.device()
    let actual = try results(of: operation, weights, on: fp8)
    let expected = try results(of: operation, rounded, on: bf16)
    let unrounded = try results(of: operation, weights, on: EmulatedGPU.device())
    let areEqual = zip(actual, expected).allSatisfy(bitsEqual)
    #expect(areEqual, "\(OperationCase.largestDifference(actual, expected))")
    let areNumbers = actual.joined().allSatisfy { $0.isFinite }
    #expect(areNumbers)
    let areUnrounded = zip(actual, unrounded).allSatisfy(bitsEqual)
    #expect(!areUnrounded)
    #expect(fp8.summary.contains("keys and values in fp8") && !bf16.summary.contains("fp8"))
  }

  /// What a code stands for, by the table of all codes that `FloatConversionTests` checks.
  @Test func `values are rounded to the nearest that a code has`() {
    let codes = (0..<0x7F).map { Float(float8e4m3Bits: UInt8($0)) }
    // All that codes have, what is midway between them, and its neighbours.
    let middles = zip(codes, codes.dropFirst()).map { ($0 + $1) / 2 }
    let values = (codes + middles.flatMap { [$0.nextDown, $0, $0.nextUp] }).flatMap { [$0, -$0] }
    for scale: Float in [1, 0x1p-30, 0x1p-100, 0x1p100] {
      let rounded = Operation.rounded(values.map { $0 * scale })
      for (value, found) in zip(values, rounded) {
        let distances = codes.map { abs($0 - abs(value)) }
        let nearest = distances.indices.filter { distances[$0] == distances.min() }
        let code = nearest.first { $0 % 2 == 0 || nearest.count == 1 }
        #expect(code.map { codes[$0] * scale } == abs(found), "\(value) times \(scale)")
      }
    }
    #expect(Operation.rounded([448.5, 1]) == [448, 1])
    #expect(Operation.rounded([0, -0]) == [0, 0])
  }

  @Test(arguments: [tables[0], tables[5]], [Float.infinity, -.infinity, .nan])
  func `what is no number is none for those who see it`(
    operation: OperationCase, value: Float
  ) throws {
    // The first token that is not among those before it.
    let sequence = operation.sequences[0]
    let place = try #require(
      sequence.indices.dropFirst(3).first {
        !sequence[..<$0].contains(sequence[$0])
      })
    let weights = WideTable(replaced: (Int(sequence[place]), value))
    let found = try results(of: operation, weights, on: EmulatedGPU.device(keys: .fp8))[0]
    let width = found.count / sequence.count
    let (before, after) = (found[..<(place * width)], found[(place * width)...])
    #expect(before.contains { !$0.isFinite } == false)
    #expect(after.contains { !$0.isFinite })
  }

  // MARK: How far off it is

  /// A value in FP8 is off by 2.7 % (root mean square: steps of an eighth, evenly spread). Outputs
  /// are sums of values, off by as much where values are independent, and weights are off too.
  @Test(arguments: OperationCase.all.filter(\.hasAttention) + OperationCase.longAttention)
  func `attention is as near the reference as three bits are`(operation: OperationCase) throws {
    let weights = RandomWeights(type: .bfloat16)
    let expected = try results(of: operation, weights, on: ReferenceDevice()).flatMap { $0 }
    let found = try results(of: operation, weights, on: EmulatedGPU.device(keys: .fp8), chunk: 150)
    let error = relativeError(found.flatMap { $0 }, expected)
    #expect(error < 0.045, "\(error)")
    #expect(error > 0.005, "it is FP8 at all: \(error)")
  }

  /// Of the median row: routers choose others now and then.
  @Test(arguments: ["qwen2", "llama-yarn", "v2-lite", "v3-dense-biased", "v3-real-heads"])
  func `logits are near those of transformers`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    var errors: [CUDACachePrecision: Float] = [:]
    for keys in [CUDACachePrecision.bf16, .fp8] {
      var run = try CPUModelRun(program, checkpoint, on: try EmulatedGPU.device(.bf16, keys: keys))
      let logits = try run.logits(of: golden.prompt, chunk: 64)
      let rows = stride(from: 0, to: logits.count, by: program.vocabularySize).map {
        let row = $0..<$0 + program.vocabularySize
        return relativeError(Array(logits[row]), Array(golden.logits[row]))
      }
      errors[keys] = rows.sorted()[rows.count / 2]
    }
    let (bf16, fp8) = (errors[.bf16] ?? .nan, errors[.fp8] ?? .nan)
    #expect(fp8 < 0.1 && fp8 > bf16, "\(errors)")
  }

  private func relativeError(_ found: [Float], _ expected: [Float]) -> Float {
    guard found.count == expected.count else { return .infinity }
    let squares = expected.reduce(0.0) { $0 + Double($1) * Double($1) }
    let differences = zip(found, expected).reduce(0.0) {
      $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1)
    }
    return Float((differences / squares).squareRoot())
  }

  // MARK: Memory

  @Test(arguments: [
    ("v3/2", 2 * 1_152, 2 * 656), ("v2-lite/3", 3 * 1_152, 3 * 656),
    ("qwen-7b/1", 4 * 512, 4 * 264), ("llama-8b/1", 8 * 512, 8 * 264),
    // A head's scales are padded where heads are few or odd.
    ("tiny-qwen/1", 2 * 64, 2 * (32 + 8)), ("tiny-v3/1", 160, 64 + 16 + 32),
  ])
  func `a token takes almost half`(name: String, bf16: Int, fp8: Int) throws {
    let program = try ModelShape(name, vocabulary: 256).program()
    #expect(CUDABudget.cacheBytesPerToken(program, .auto) == bf16)
    #expect(CUDABudget.cacheBytesPerToken(program, .fp8) == fp8)
  }

  /// More than an emulated GPU has, for which it is told apart.
  @Test func `a device takes as much as its budget says`() throws {
    let operation = Self.tables[7]
    let capacity = DeviceCapacity(
      rowCountMax: 8, outputCountMax: 8, blockCount: 1 << 17, blockTokens: 16)
    for keys in [CUDACachePrecision.bf16, .fp8] {
      let bytes = CUDABudget.cacheBytesPerToken(operation.program, keys)
      let text = "\(ByteCount.text(bytes << 21)) for keys and values"
      let error = #expect(throws: DeviceError.self) {
        try EmulatedGPU.device(keys: keys).load(
          operation.program, from: WideTable(), capacity: capacity, progress: { _ in })
      }
      #expect(error?.message.contains(text) == true, "\(String(describing: error))")
    }
  }
}

extension Program {
  fileprivate var attention: Operation? {
    operations.first {
      switch $0 {
      case .attention, .latentAttention: true
      default: false
      }
    }
  }
}

/// Random weights, but for a table `kv` of 32-bit floats. Its rows are of different sizes, and a
/// row's elements are, down to what its scale is too large for.
private struct WideTable: WeightSource {
  /// Of rows' sizes.
  var exponents = -4...1
  /// Whose keys and values the table has, to round them; nil: as they are.
  var rounded: Operation?
  /// In place of an element of a row.
  var replaced: (row: Int, value: Float)?

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    guard weight.name == "kv" else { return try RandomWeights(type: .bfloat16).tensor(weight) }
    var random = SeededGenerator(seed: 7)
    var floats: [Float] = []
    for row in 0..<weight.rows {
      let size = Int.random(in: exponents, using: &random)
      for _ in 0..<weight.columns {
        let exponent = size + Int.random(in: -18...0, using: &random)
        let value = row % 11 == 0 ? 0 : Double.random(in: -1...1, using: &random)
        floats.append(Float(value * Double(sign: .plus, exponent: exponent, significand: 1)))
      }
    }
    if let (row, value) = replaced { floats[row * weight.columns + 2] = value }
    for value in Set(rounded?.reads ?? []) {
      rounded?.roundCachedColumns(of: value, width: weight.columns, in: &floats)
    }
    return .floats(weight, floats)
  }
}
