// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import Step
import TestSupport
import Testing

/// What is done at once around absorbed latent attention: compressed queries, the norm of
/// compressed keys, rotary embeddings, and their storing; the merge of parts and values. It changes
/// no bit.
@Suite struct CUDALatentTests {
  /// Eleven rows at most, some of each sequence; before them keys for some parts.
  private static let lengths = [126, 5]
  private static let before = 120

  struct Shape: Sendable, CustomTestStringConvertible {
    var heads, latent, rope: Int
    var testDescription: String { "\(heads) heads over \(latent) and \(rope)" }
  }

  /// Latents below, at and above what a warp has of a row, in fours and not; more rotary columns
  /// than a block stores of a row.
  private static let shapes = [
    Shape(heads: 3, latent: 30, rope: 6), Shape(heads: 2, latent: 128, rope: 4),
    Shape(heads: 1, latent: 333, rope: 2), Shape(heads: 9, latent: 512, rope: 120),
  ]

  private static func operation(_ shape: Shape) -> OperationCase {
    let (heads, latent, rope, plain) = (shape.heads, shape.latent, shape.rope, 16)
    return OperationCase("latents, \(shape.testDescription)", width: 24, lengths: lengths) { b, x in
      let q = b.linear(x, Weight("q", [heads * (plain + rope), 24]))
      let compressed = b.linear(x, Weight("kv", [latent + rope, 24]))
      let normed = b.rmsNorm(
        Columns(compressed, width: latent), Weight("norm", [latent]), epsilon: 1e-6)
      let stride = plain + rope
      let queries = b.headwiseLinear(
        Columns(q, width: plain, count: heads, stride: stride),
        Weight("expansion", [heads * 20, latent]), rowsPerHead: 20, rows: 0..<plain,
        direction: .rowsToColumns)
      let ropeQueries = Columns(q, offset: plain, width: rope, count: heads, stride: stride)
      let ropeKey = Columns(compressed, offset: latent, width: rope)
      let table = RopeTable(inverseFrequencies: (0..<rope / 2).map { 1 / Float($0 + 1) })
      b.rope(ropeQueries, table, layout: .interleaved)
      b.rope(ropeKey, table, layout: .halves)
      let attended = b.latentAttention(
        latentQueries: Columns(queries, width: latent, count: heads, stride: latent),
        ropeQueries: ropeQueries, latent: b.all(of: normed), ropeKey: ropeKey, scale: 0.4)
      return b.headwiseLinear(
        Columns(attended, width: latent, count: heads, stride: latent),
        Weight("expansion", [heads * 20, latent]), rowsPerHead: 20, rows: plain..<20,
        direction: .columnsToRows)
    }
  }

  /// As `CPUModelRun.plan`, for longer sequences.
  private static func plan(_ parts: [(sequence: Int, tokens: [Int32], position: Int)]) -> StepPlan {
    var plan = CPUModelRun.plan(parts)
    for index in plan.sequences.indices {
      let blocks = plan.sequences[index].blocks.indices
      plan.sequences[index].blocks = blocks.map { Int32(20 * parts[index].sequence + $0 ^ 1) }
    }
    return plan
  }

  private static func plan(_ operation: OperationCase, rows: Int) -> StepPlan {
    let (first, second) = (operation.sequences[0], operation.sequences[1])
    let begin = Array(first[before...].prefix(rows))
    let rest = Array(second.prefix(rows - begin.count))
    return plan([(0, begin, before), (1, rest, 0)].filter { !$0.1.isEmpty })
  }

  @Test(arguments: shapes, [CUDACachePrecision.bf16, .fp8])
  func `at once they give the bits of each by itself`(
    shape: Shape, keys: CUDACachePrecision
  ) throws {
    let operation = Self.operation(shape)
    let prompt = Self.plan([(0, Array(operation.sequences[0][..<Self.before]), 0)])
    try operation.expectBitsOfOperations(
      [1, 2, 8, 9, 11].map { Self.plan(operation, rows: $0) }, after: prompt,
      steps: CUDASteps.allCases.filter { keys == .bf16 || $0 != .oneLaunch }
    ) { try EmulatedGPU.device(keys: keys, steps: $0) }
  }

  @Test(arguments: [CUDACachePrecision.bf16, .fp8])
  func `few rows take one kernel, many two`(keys: CUDACachePrecision) throws {
    let operation = Self.operation(Self.shapes[1])
    let device = try EmulatedGPU.device(keys: keys)
    let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
    let indices = run.program.operations.indices
    let suffix = keys == .fp8 ? "_fp8" : ""
    for rows in [1, 8, 9, 100] {
      let names = try device.kernelNames(indices, tokens: rows, outputs: rows)
      let isFew = rows <= 8
      #expect(!names.contains("rms_norm"), "\(rows): \(names)")
      #expect(names.contains("latent_few\(suffix)") == isFew, "\(rows): \(names)")
      #expect(names.contains("store\(suffix)") != isFew, "\(rows): \(names)")
      #expect(names.contains("latent_values_few") == isFew, "\(rows): \(names)")
      #expect(names.contains("merge") == (rows == 9), "\(rows): \(names)")
    }
    // A range that ends before the values has each by itself.
    let names = try device.kernelNames(0..<indices.upperBound - 2, tokens: 1, outputs: 1)
    #expect(names.contains("rms_norm") && names.contains("merge"), "\(names)")
    #expect(!names.contains("latent_few\(suffix)"), "\(names)")
  }

  /// V2-Lite's and V3's heads: as much is read again as blocks that norm their rows read.
  @Test func `parts that too many blocks would read are merged once`() {
    let most = [16, 128].map { heads in
      NormedRows.most(columns: 512 * 64, tiles: 8 * heads, rowBytes: 1_056)
    }
    #expect(most == [1, 0])
  }

  @Test func `who else reads the keys or the compressed queries gets them whole`() throws {
    let operation = OperationCase("latents that are read twice", width: 24, lengths: Self.lengths) {
      b, x in
      let compressed = b.linear(x, Weight("kv", [20, 24]))
      let normed = b.rmsNorm(Columns(compressed, width: 16), Weight("norm", [16]), epsilon: 1e-6)
      let queries = b.headwiseLinear(
        Columns(x, width: 8), Weight("expansion", [8, 16]), rowsPerHead: 8, rows: 0..<8,
        direction: .rowsToColumns)
      let ropeKey = Columns(compressed, offset: 16, width: 4)
      let table = RopeTable(inverseFrequencies: [1, 0.5])
      b.rope(ropeKey, table, layout: .halves)
      let attended = b.latentAttention(
        latentQueries: b.all(of: queries), ropeQueries: Columns(x, offset: 8, width: 4),
        latent: b.all(of: normed), ropeKey: ropeKey, scale: 1)
      let values = b.headwiseLinear(
        b.all(of: attended), Weight("expansion", [8, 16]), rowsPerHead: 8, rows: 0..<8,
        direction: .columnsToRows)
      return b.join(values, normed)
    }
    let device = try EmulatedGPU.device(.bf16)
    let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
    let names = try device.kernelNames(run.program.operations.indices, tokens: 1, outputs: 1)
    #expect(names.contains("rms_norm"), "\(names)")
    let difference = try operation.largestDifference(
      of: EmulatedGPU.device(.bf16), weights: RandomWeights(type: .bfloat16))
    #expect(difference <= 8e-3, "\(difference)")
  }
}
