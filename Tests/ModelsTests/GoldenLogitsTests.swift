// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// The reference device against transformers, for every stored model.
@Suite struct GoldenLogitsTests {
  @Test(arguments: SyntheticCheckpoint.names)
  func `logits equal those of transformers`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let model = try LoadedReference(golden.directory)
    let logits = model.logits(of: golden.prompt)
    let difference = zip(logits, golden.logits).map { abs($0 - $1) }.max() ?? .infinity
    #expect(logits.count == golden.logits.count)
    #expect(difference <= 2e-4, "largest difference \(difference)")
  }

  @Test(arguments: ["qwen2", "llama3", "v2-lite", "v3", "v3-fp8"])
  func `greedy tokens equal those of transformers`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let model = try LoadedReference(golden.directory)
    #expect(model.greedy(after: golden.prompt, count: golden.greedy.count) == golden.greedy)
  }

  @Test(arguments: ["qwen2", "v2-groups", "v3"])
  func `chunks change no bit`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let whole = try LoadedReference(golden.directory).logits(of: golden.prompt)
    for chunk in [1, 5, 16] {
      let model = try LoadedReference(golden.directory)
      #expect(model.logits(of: golden.prompt, chunk: chunk) == whole)
    }
  }

  @Test func `there are models of every family`() throws {
    let families = try SyntheticCheckpoint.names.map { name in
      let golden = try SyntheticCheckpoint(name)
      return try withExtendedLifetime(golden) {
        try Checkpoint(directory: golden.directory).configuration.architecture
      }
    }
    #expect(Set(families) == Set(Model.architectures))
  }
}

/// A checkpoint on the reference device, driven step by step.
struct LoadedReference {
  let program: Program
  private let device = ReferenceDevice()
  private let blockTokens = 16

  init(_ directory: String) throws {
    let checkpoint = try Checkpoint(directory: directory)
    program = try Model.program(for: checkpoint)
    let capacity = DeviceCapacity(
      rowCountMax: 64, outputCountMax: 64, blockCount: 8, blockTokens: blockTokens)
    try device.load(program, from: checkpoint, capacity: capacity, progress: { _ in })
  }

  /// The logits after each token: `[tokens, vocabulary]`.
  func logits(of tokens: [Int32], chunk: Int = 64) -> [Float] {
    var logits: [Float] = []
    for start in stride(from: 0, to: tokens.count, by: chunk) {
      let part = Array(tokens[start..<min(start + chunk, tokens.count)])
      logits += step(part, at: start, outputs: .all)
    }
    return logits
  }

  func greedy(after prompt: [Int32], count: Int) -> [Int32] {
    var tokens: [Int32] = []
    var input = prompt
    var position = 0
    while tokens.count < count {
      let row = step(input, at: position, outputs: .last)
      position += input.count
      let best = row.indices.max { row[$0] < row[$1] } ?? 0
      tokens.append(Int32(best))
      input = [Int32(best)]
    }
    return tokens
  }

  private func step(_ tokens: [Int32], at position: Int, outputs: OutputRows) -> [Float] {
    let blockCount = (position + tokens.count + blockTokens - 1) / blockTokens
    let sequence = StepSequence(
      id: SequenceID(1), rows: 0..<tokens.count, firstPosition: position,
      blocks: (0..<Int32(blockCount)).map { 7 - $0 }, outputs: outputs)
    return run(StepPlan(id: UInt64(position), tokens: tokens, sequences: [sequence]))
  }

  private func run(_ plan: StepPlan) -> [Float] {
    guard case .logits(let value) = program.output else { return [] }
    device.begin(plan)
    device.run(program.operations.indices)
    let count = plan.outputCount * program.vocabularySize
    return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      device.read(value, into: UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
      initialized = count
    }
  }
}
