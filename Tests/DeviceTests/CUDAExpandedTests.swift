// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Conformance
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// Latent attention of prompts in its expanded form, on an emulated GPU.
@Suite struct CUDAExpandedTests {
  /// Chunks of so many rows on are expanded.
  private static let rowsMin = 16
  /// As few tokens a portion as there can be.
  private static let expansion = CUDAExpansion(rowsMin: rowsMin, portionTokens: 128)

  /// A model's block without the linear behind it.
  private static func block(
    heads: Int, latent: Int, plain: Int, rope: Int, value: Int, lengths: [Int]
  ) -> OperationCase {
    OperationCase(
      "\(heads) heads of \(plain), \(rope) and \(value) from \(latent)", width: 24,
      lengths: lengths
    ) { b, x in
      let stride = plain + rope
      let q = b.linear(x, Weight("q", [heads * stride, 24]))
      let compressed = b.linear(x, Weight("kv", [latent + rope, 24]))
      let normed = b.rmsNorm(
        Columns(compressed, width: latent), Weight("norm", [latent]), epsilon: 1e-6)
      let ropeQueries = Columns(q, offset: plain, width: rope, count: heads, stride: stride)
      let ropeKey = Columns(compressed, offset: latent, width: rope)
      let weight = Weight("kv_b", [heads * (plain + value), latent])
      let latentQueries = b.headwiseLinear(
        Columns(q, width: plain, count: heads, stride: stride), weight,
        rowsPerHead: plain + value, rows: 0..<plain, direction: .rowsToColumns)
      let table = RopeTable(inverseFrequencies: (0..<rope / 2).map { 1 / Float(1 + 3 * $0) })
      b.rope(ropeQueries, table, layout: .interleaved)
      b.rope(ropeKey, table, layout: .interleaved)
      let attended = b.latentAttention(
        latentQueries: Columns(latentQueries, width: latent, count: heads, stride: latent),
        ropeQueries: ropeQueries, latent: b.all(of: normed), ropeKey: ropeKey, scale: 0.4)
      return b.headwiseLinear(
        Columns(attended, width: latent, count: heads, stride: latent), weight,
        rowsPerHead: plain + value, rows: plain..<plain + value, direction: .columnsToRows)
    }
  }

  /// Odd widths, several portions, chunks that end within a window, rows that are absorbed beside.
  private static let blocks = [
    block(heads: 1, latent: 9, plain: 5, rope: 4, value: 3, lengths: [150, 1, 16, 40]),
    block(heads: 3, latent: 33, plain: 12, rope: 6, value: 7, lengths: [9, 270, 15, 65]),
    block(heads: 4, latent: 64, plain: 32, rope: 16, value: 32, lengths: [300, 3, 64]),
    block(heads: 2, latent: 136, plain: 64, rope: 8, value: 128, lengths: [40, 131]),
    block(heads: 2, latent: 512, plain: 128, rope: 64, value: 128, lengths: [5, 140]),
  ]

  private static func results(
    _ block: OperationCase, _ sequences: [[Int32]]? = nil, on device: any Device,
    chunk: Int = .max
  ) throws -> [[Float]] {
    try DeviceDriver(
      block.program, RandomWeights(type: .bfloat16), on: [device], rowCountMax: 400
    ).results(of: sequences ?? block.sequences, chunk: chunk)
  }

  private static func device(
    _ keys: CUDACachePrecision = .auto, gpu: Int = 0, _ expansion: CUDAExpansion? = expansion
  ) throws -> CUDADevice {
    try EmulatedGPU.device(gpu: gpu, keys: keys, expansion: expansion)
  }

  // MARK: What it computes

  @Test(arguments: blocks, [CUDACachePrecision.bf16, .fp8])
  func `it equals the reference`(block: OperationCase, keys: CUDACachePrecision) throws {
    let expected = try Self.results(block, on: ReferenceDevice())
    for chunk in [Int.max, 37] {
      let found = try Self.results(block, on: Self.device(keys), chunk: chunk)
      let difference = OperationCase.largestDifference(found, expected)
      #expect(difference < (keys == .fp8 ? 0.1 : 1e-2), "chunks of \(chunk): \(difference)")
    }
  }

  /// FP8 costs what rounded latents cost, and nothing beside.
  @Test(arguments: blocks) func `latents in FP8 are expanded as they are`(
    block: OperationCase
  ) throws {
    for keys in [CUDACachePrecision.bf16, .fp8] {
      let comparison = try DeviceComparison(
        block.program, RandomWeights(type: .bfloat16), device: Self.device(keys),
        keysAreFP8: keys == .fp8, rowCount: 150)
      let tokens = (0..<150).map { Int32($0 * 7 % block.program.vocabularySize) }
      let error = try comparison.latentGroupError(of: tokens, chunk: 90) ?? .infinity
      #expect(error < 1e-2, "\(keys): \(error)")
    }
  }

  @Test(arguments: blocks) func `only chunks of enough rows are expanded`(
    block: OperationCase
  ) throws {
    let absorbed = try Self.results(block, on: Self.device(.auto, nil))
    let found = try Self.results(block, on: Self.device())
    for (index, sequence) in block.sequences.enumerated() {
      let isSame = bitsEqual(found[index], absorbed[index])
      #expect(isSame == (sequence.count < Self.rowsMin), "\(sequence.count) rows")
    }
    // Chunks of fewer rows are absorbed as if nothing had been asked for.
    let chunked = try Self.results(block, on: Self.device(), chunk: Self.rowsMin - 1)
    let isSame = bitsEqual(chunked.flatMap { $0 }, absorbed.flatMap { $0 })
    #expect(isSame)
  }

  // MARK: The same bits

  @Test(arguments: blocks, [CUDACachePrecision.bf16, .fp8])
  func `portions, chunks, the batch and the GPU change no bit`(
    block: OperationCase, keys: CUDACachePrecision
  ) throws {
    let together = try Self.results(block, on: Self.device(keys))
    let larger = CUDAExpansion(rowsMin: Self.rowsMin, portionTokens: 256)
    for (gpu, expansion) in [(0, larger), (1, Self.expansion)] {
      let other = try Self.results(block, on: Self.device(keys, gpu: gpu, expansion))
      let isSame = bitsEqual(other.flatMap { $0 }, together.flatMap { $0 })
      #expect(isSame, "GPU \(gpu), portions of \(expansion.portionTokens)")
    }
    for (index, sequence) in block.sequences.enumerated() {
      // In whole chunks, so that none is absorbed.
      let chunk = (Self.rowsMin...50).first { sequence.count % $0 >= Self.rowsMin } ?? .max
      let alone = try Self.results(block, [sequence], on: Self.device(keys), chunk: chunk)
      let isSame = bitsEqual(alone[0], together[index])
      #expect(isSame, "\(sequence.count) tokens alone, in chunks of \(chunk)")
    }
  }

  /// Tokens that are generated before, between and behind a prompt.
  @Test(arguments: [CUDASteps.kernels, .graphs, .oneLaunch])
  func `generated tokens beside prompts change no bit`(steps: CUDASteps) throws {
    let golden = try SyntheticCheckpoint("v3")
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let tokens = golden.prompt
    func run() throws -> CPUModelRun {
      try CPUModelRun(
        program, checkpoint,
        on: try EmulatedGPU.device(.bf16, steps: steps, expansion: Self.expansion))
    }
    typealias Part = (sequence: Int, tokens: [Int32], position: Int)
    let prompts: [Part] = [(0, Array(tokens.prefix(20)), 0), (1, tokens, 0)]
    let generated: [Part] = [
      (0, [tokens[20]], 20), (1, [tokens[3]], tokens.count), (2, Array(tokens.suffix(30)), 0),
      (0, [tokens[21]], 21),
    ]
    var alone = try run()
    let expected = try (prompts + generated).map { try alone.logits(CPUModelRun.plan([$0])) }
    var together = try run()
    let first = try together.logits(CPUModelRun.plan(prompts))
    #expect(bitsEqual(first, expected[0] + expected[1]))
    let second = try together.logits(
      CPUModelRun.plan([generated[0], generated[2], generated[1]]))
    #expect(bitsEqual(second, expected[2] + expected[4] + expected[3]))
    let third = try together.logits(CPUModelRun.plan([generated[3]]))
    #expect(bitsEqual(third, expected[5]))
  }

  // MARK: Whole models

  /// Of the median row: routers choose others now and then.
  @Test(arguments: [
    ("v2-lite", CUDAPrecision.bf16, CUDACachePrecision.bf16), ("v3-real-heads", .fp8, .bf16),
    ("v3", .w8a8, .bf16), ("v3-fp8", .fp8, .fp8), ("v3-dense-biased", .bf16, .bf16),
    ("v3-dense-biased", .fp8a8, .fp8),
  ])
  func `a model's logits are near those of the absorbed form`(
    name: String, precision: CUDAPrecision, keys: CUDACachePrecision
  ) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let (absorbed, expanded) = try (logits(nil), logits(Self.expansion))
    func logits(_ expansion: CUDAExpansion?) throws -> [Float] {
      let device = try EmulatedGPU.device(precision, keys: keys, expansion: expansion)
      #expect(device.summary.contains("expanded attention") == (expansion != nil))
      var run = try CPUModelRun(program, checkpoint, on: device)
      return try run.logits(of: golden.prompt, chunk: 64)
    }
    let errors = stride(from: 0, to: absorbed.count, by: program.vocabularySize).map { start in
      let row = start..<start + program.vocabularySize
      let scale = absorbed[row].reduce(0) { max($0, abs($1)) }
      return largestDifference(Array(expanded[row]), Array(absorbed[row])) / scale
    }.sorted()
    // Activations in FP8 are rounded another way now and then.
    let bound: Float = precision == .fp8a8 ? 0.1 : 0.05
    #expect(errors[errors.count / 2] < bound && errors[errors.count / 2] > 0, "\(errors)")
  }

  // MARK: What it takes, and where it is refused

  @Test func `it begins where it takes fewer operations`() throws {
    for name in ["v2-lite/2", "v3/1"] {
      let groups = try ModelShape(name, vocabulary: 256).program().latentGroups
      // 512 · 256 for each cached token, 1,088 less 320 for each pair.
      #expect(CUDAExpansion.rowsMin(of: groups) == 171)
    }
  }

  @Test func `a device takes as much as its budget says`() throws {
    let program = try ModelShape("v2-lite/2", vocabulary: 256).program()
    let weights = ShapeWeights(program, storage: .bf16, seed: 1)
    let capacity = DeviceCapacity(
      rowCountMax: 8, outputCountMax: 8, blockCount: 1, blockTokens: 16)
    func budget(_ expansion: CUDAExpansion?) throws -> CUDABudget {
      try CUDABudget(
        program, from: weights, precision: .bf16, expansion: expansion, capacity: capacity)
    }
    let (absorbed, expanded) = try (budget(nil), budget(CUDAExpansion()))
    #expect(expanded.weightBytes - absorbed.weightBytes == 2 * 16 * 128 * 512 * 2)
    // Latents, keys and values of 2,048 tokens; sums of 8 rows. Values share buffers otherwise.
    let portions = 2_048 * (576 + 16 * 256) * 2 + 8 * 16 * (128 + 2) * 4
    let more = expanded.bufferBytes - absorbed.bufferBytes
    #expect(abs(more - portions) < 1 << 20, "\(more)")
  }

  @Test func `what cannot be is refused by name`() throws {
    let block = Self.blocks[0]
    let other = OperationCase.all.first { $0.hasAttention }
    let wide = Self.block(
      heads: 1, latent: 160, plain: 8, rope: 4, value: 136, lengths: [1])
    let even = Self.block(heads: 1, latent: 16, plain: 16, rope: 4, value: 16, lengths: [1])
    let slice = ContextSlice(index: 0, count: 2)
    let refused: [(Program, CUDAExpansion, ContextSlice, String)] = [
      (block.program, Self.expansion, slice, "context slices"),
      (try #require(other).program, Self.expansion, .whole, "for models with latent attention"),
      (block.program.withLogSumExp(), Self.expansion, .whole, "for models with latent attention"),
      (wide.program, Self.expansion, .whole, "values of up to 128 columns"),
      (even.program, CUDAExpansion(), .whole, "takes no fewer operations"),
    ]
    for (program, expansion, slice, words) in refused {
      let capacity = DeviceCapacity(
        rowCountMax: 8, outputCountMax: 8, blockCount: 8, blockTokens: 16, contextSlice: slice)
      let error = #expect(throws: DeviceError.self) {
        try Self.device(.auto, expansion).load(
          program, from: RandomWeights(), capacity: capacity, progress: { _ in })
      }
      #expect(error?.message.contains(words) == true, "\(String(describing: error))")
      #expect(error?.message.contains("--mla-prefill absorbed") == true)
    }
  }
}
