// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// On one level, a sequence's bits depend on its own tokens only.
@Suite struct CPUDeterminismTests {
  static let names = ["qwen2", "v2-groups", "v3"]
  static let cases = names.flatMap { name in CPULevel.available.map { (name, $0) } }

  private func run(
    _ checkpoint: Checkpoint, _ level: CPULevel, threads: Int, _ precision: CPUPrecision = .f32
  ) throws -> CPUModelRun {
    let device = try CPUDevice(
      .init(precision: precision, threadCount: threads, level: level))
    return try CPUModelRun(try Model.program(for: checkpoint), checkpoint, on: device)
  }

  @Test(arguments: cases)
  func `chunks and threads change no bit`(name: String, level: CPULevel) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    var first = try run(checkpoint, level, threads: 1)
    let whole = try first.logits(of: golden.prompt, chunk: 64)
    for (threads, chunk) in [(1, 1), (1, 5), (2, 7), (3, 16), (3, 64)] {
      var other = try run(checkpoint, level, threads: threads)
      let logits = try other.logits(of: golden.prompt, chunk: chunk)
      #expect(bitsEqual(logits, whole), "\(threads) threads, chunks of \(chunk)")
    }
  }

  @Test(arguments: cases)
  func `the batch changes no bit`(name: String, level: CPULevel) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    for precision in [CPUPrecision.f32, .bf16] {
      var alone = try run(checkpoint, level, threads: 2, precision)
      let prompts = (0..<16).map { Array(golden.prompt[($0 % 5)...].prefix(6 + $0)) }
      let expected = try prompts.map { try alone.logits(of: $0, chunk: 64) }
      for batch in [1, 2, 5, 16] {
        var together = try run(checkpoint, level, threads: 2, precision)
        #expect(
          try batched(prompts.prefix(batch), on: &together).elementsEqual(
            expected.prefix(batch), by: bitsEqual), "batch \(batch)")
      }
    }
  }

  /// Products of more than 256 rows are cut into units of some of them.
  @Test(
    arguments: CPULevel.available, [CPUPrecision.f32, .w8, .w4])
  func `many rows at once have the bits of a few`(
    level: CPULevel, precision: CPUPrecision
  ) throws {
    let operations = OperationCase.all.filter { operation in
      ["linear with bias", "gated unit", "experts"].contains { operation.name.contains($0) }
    }
    #expect(operations.count > 2)
    for operation in operations {
      let vocabulary = Int32(operation.program.vocabularySize)
      let tokens = (0..<600).map { Int32($0 * 7) % vocabulary }
      func logits(chunk: Int) throws -> [Float] {
        let device = try CPUDevice(.init(precision: precision, threadCount: 2, level: level))
        var run = try CPUModelRun(
          operation.program, RandomWeights(), on: device, rowCountMax: tokens.count)
        return try run.logits(of: tokens, chunk: chunk)
      }
      let areEqual = bitsEqual(try logits(chunk: 600), try logits(chunk: 90))
      #expect(areEqual, "\(operation.name)")
    }
  }

  /// All but the last token of each prompt in one step at a time, then all last tokens together.
  private func batched(
    _ prompts: ArraySlice<[Int32]>, on run: inout CPUModelRun
  ) throws -> [[Float]] {
    var logits = try prompts.enumerated().map { index, prompt in
      try run.logits(of: prompt.dropLast(), chunk: 64, sequence: index)
    }
    let plan = CPUModelRun.plan(
      prompts.enumerated().map { ($0.offset, $0.element.suffix(1), $0.element.count - 1) })
    let last = try run.logits(plan)
    let width = run.program.vocabularySize
    for index in logits.indices { logits[index] += last[index * width..<(index + 1) * width] }
    return logits
  }

  /// Where a run is cut, phases that belong together come apart.
  @Test(arguments: names, [CPUPrecision.f32, .bf16, .w8, .w4])
  func `where a run is cut changes no bit`(name: String, precision: CPUPrecision) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    var run = try run(checkpoint, CPULevel.available[0], threads: 2, precision)
    let plan = CPUModelRun.plan([(0, golden.prompt, 0)])
    let expected = try run.logits(plan)
    guard case .logits(let output) = run.program.output else { return }
    var random = SeededGenerator(seed: 1)
    for longest in [1, 2, 5, 12, 12, 12] {
      try run.begin(plan)
      var index = 0
      while index < run.program.operations.count {
        let end = index + Int.random(in: 1...longest, using: &random)
        try run.device.run(index..<min(end, run.program.operations.count))
        index = end
      }
      #expect(bitsEqual(try run.values(output), expected), "cuts of up to \(longest)")
    }
  }
}
