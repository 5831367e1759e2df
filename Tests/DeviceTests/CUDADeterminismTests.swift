// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// On one kind of GPU, a sequence's bits depend on its own tokens only.
@Suite struct CUDADeterminismTests {
  /// A model, and how its matrices, and keys and values, are kept.
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var precision: CUDAPrecision
    var keys = CUDACachePrecision.bf16

    var testDescription: String { "\(name) in \(precision), keys in \(keys)" }
  }

  static let cases = [
    Case(name: "qwen2", precision: .bf16), Case(name: "qwen2", precision: .w4),
    Case(name: "v2-groups", precision: .w8), Case(name: "v3-fp8", precision: .auto),
    Case(name: "v3-int4", precision: .auto), Case(name: "v2-w8a8", precision: .auto),
    Case(name: "qwen2", precision: .bf16, keys: .fp8), Case(name: "v3", precision: .w8, keys: .fp8),
    Case(name: "qwen2", precision: .w8a8), Case(name: "v3", precision: .w8a8),
    Case(name: "v3", precision: .sparse), Case(name: "qwen2", precision: .fp8a8),
    Case(name: "v3-fp8", precision: .fp8a8),
  ]

  private func run(_ checkpoint: Checkpoint, _ tested: Case) throws -> CPUModelRun {
    try CPUModelRun(
      try Model.program(for: checkpoint), checkpoint,
      on: try EmulatedGPU.device(tested.precision, keys: tested.keys))
  }

  @Test(arguments: cases)
  func `chunks change no bit`(tested: Case) throws {
    let golden = try SyntheticCheckpoint(tested.name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    var first = try run(checkpoint, tested)
    let whole = try first.logits(of: golden.prompt, chunk: 64)
    // One token, and each of the kernels for 8, 16, 32 and 64.
    for chunk in [1, 7, 13, 20] {
      var other = try run(checkpoint, tested)
      #expect(
        bitsEqual(try other.logits(of: golden.prompt, chunk: chunk), whole), "chunks of \(chunk)")
    }
  }

  @Test(arguments: cases)
  func `the batch changes no bit`(tested: Case) throws {
    let golden = try SyntheticCheckpoint(tested.name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    var alone = try run(checkpoint, tested)
    let prompts = (0..<12).map { Array(golden.prompt[($0 % 5)...].prefix(6 + $0 / 2)) }
    let expected = try prompts.map { try alone.logits(of: $0, chunk: 64).suffix(alone.width) }
    for batch in [2, 12] {
      var together = try run(checkpoint, tested)
      for (index, prompt) in prompts.prefix(batch).enumerated() {
        _ = try together.logits(of: prompt.dropLast(), chunk: 64, sequence: index)
      }
      let last = try together.logits(
        CPUModelRun.plan(
          prompts.prefix(batch).enumerated().map {
            ($0.offset, $0.element.suffix(1), $0.element.count - 1)
          }))
      #expect(bitsEqual(last, expected.prefix(batch).flatMap { $0 }), "batch \(batch)")
    }
  }

  /// Steps of 1, 3, 11, 2 and again 3 rows: graphs and launches with rows to spare, and some that
  /// are used again.
  @Test(arguments: [
    ("v3", CUDAPrecision.w8), ("v3-real-heads", .fp8), ("v2-lite", .w4), ("qwen2", .bf16),
    ("llama3", .w8a8), ("v2-lite", .sparse),
  ])
  func `graphs and whole steps as one launch change no bit`(
    name: String, precision: CUDAPrecision
  ) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    var runs = try CUDASteps.allCases.map { steps in
      try CPUModelRun(program, checkpoint, on: try EmulatedGPU.device(precision, steps: steps))
    }
    let prompt = Array(golden.prompt.prefix(11))
    for (sequence, chunk) in [1, 3, 11, 2, 3].enumerated() {
      let logits = try runs.indices.map {
        try runs[$0].logits(of: prompt, chunk: chunk, sequence: sequence)
      }
      #expect(bitsEqual(logits[0], logits[1]), "graphs, chunks of \(chunk)")
      #expect(bitsEqual(logits[0], logits[2]), "one launch, chunks of \(chunk)")
    }
  }

  /// A chunk in the middle of a prompt: its graph has blocks for logits that nobody asks for.
  @Test func `chunks without logits change no bit`() throws {
    let golden = try SyntheticCheckpoint("qwen2")
    let checkpoint = try Checkpoint(directory: golden.directory)
    var whole = try run(checkpoint, Case(name: "qwen2", precision: .w8))
    let expected = try whole.logits(of: golden.prompt, chunk: 64)
    var chunked = try run(checkpoint, Case(name: "qwen2", precision: .w8))
    var first = CPUModelRun.plan([(0, Array(golden.prompt.prefix(20)), 0)])
    first.sequences[0].outputs = .none
    try chunked.begin(first)
    try chunked.device.run(chunked.program.operations.indices)
    let rest = try chunked.logits(
      CPUModelRun.plan([(0, Array(golden.prompt.dropFirst(20)), 20)]))
    #expect(bitsEqual(rest, expected.suffix(rest.count)))
  }

  /// A whole step fuses neighbours; each by itself is the same sum.
  @Test(arguments: cases)
  func `fused operations change no bit`(tested: Case) throws {
    let golden = try SyntheticCheckpoint(tested.name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    for rows in [1, 9, 37] {
      let plan = CPUModelRun.plan([(0, Array(golden.prompt.prefix(rows)), 0)])
      var fused = try run(checkpoint, tested)
      let expected = try fused.logits(plan)
      var single = try run(checkpoint, tested)
      try single.begin(plan)
      for index in single.program.operations.indices {
        try single.device.run(index..<index + 1)
      }
      guard case .logits(let value) = single.program.output else { return }
      #expect(bitsEqual(try single.values(value), expected), "\(rows) rows")
    }
  }

  /// Few rows over parts of the keys, more over larger parts, windows of tokens.
  @Test(arguments: OperationCase.longAttention, [CUDACachePrecision.bf16, .fp8])
  func `how keys are spread over blocks changes no bit`(
    operation: OperationCase, keys: CUDACachePrecision
  ) throws {
    let weights = RandomWeights(type: .bfloat16)
    func results(chunk: Int) throws -> [[Float]] {
      try DeviceDriver(operation.program, weights, on: [try EmulatedGPU.device(keys: keys)])
        .results(of: operation.sequences, chunk: chunk)
    }
    let expected = try DeviceDriver(operation.program, weights, on: [ReferenceDevice()])
      .results(of: operation.sequences, chunk: 120)
    let whole = try results(chunk: 120)
    #expect(OperationCase.largestDifference(whole, expected) < (keys == .fp8 ? 0.1 : 1e-2))
    for chunk in [2, 9] {
      let other = try results(chunk: chunk)
      #expect(bitsEqual(other.flatMap { $0 }, whole.flatMap { $0 }), "chunks of \(chunk)")
    }
  }

  /// Weights are rounded to 8 bits beside the largest of a tile, and slices have other tiles.
  @Test(
    arguments: OperationCase.all.filter(\.hasAttention),
    [(2, CUDACachePrecision.bf16), (8, .bf16), (2, .fp8), (8, .fp8)])
  func `slices of the keys merge to the whole`(
    operation: OperationCase, slices: (count: Int, keys: CUDACachePrecision)
  ) throws {
    let weights = RandomWeights(type: .bfloat16)
    let whole = try DeviceDriver(
      operation.program, weights, on: [try EmulatedGPU.device(keys: slices.keys)]
    ).results(of: operation.sequences)
    let devices = try (0..<slices.count).map {
      try EmulatedGPU.device(gpu: $0 % 2, keys: slices.keys)
    }
    let sliced = try DeviceDriver(operation.program.withLogSumExp(), weights, on: devices)
      .results(of: operation.sequences, chunk: 5)
    #expect(OperationCase.largestDifference(sliced, whole) < 2e-3)
  }
}

extension CPUModelRun {
  fileprivate var width: Int { program.vocabularySize }
}
