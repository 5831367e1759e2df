// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// Plans on their way to an emulated GPU, which does nothing before somebody waits for it.
@Suite struct CUDARingTests {
  private func run(
    _ golden: SyntheticCheckpoint, _ steps: CUDASteps, stepCountMax: Int = 1
  ) throws -> CPUModelRun {
    let checkpoint = try Checkpoint(directory: golden.directory)
    return try CPUModelRun(
      Model.program(for: checkpoint), checkpoint,
      on: try EmulatedGPU.device(.bf16, steps: steps), stepCountMax: stepCountMax)
  }

  /// Queues a step and waits for nothing of it.
  private func queue(_ plan: StepPlan, on run: inout CPUModelRun) throws {
    try run.begin(plan)
    try run.device.run(run.program.operations.indices)
  }

  /// More steps than there are slots: each stores its own tokens' keys, where its own blocks are.
  @Test(arguments: CUDASteps.allCases, [1, 3])
  func `no plan is overwritten before the GPU has it`(
    steps: CUDASteps, stepCountMax: Int
  ) throws {
    let golden = try SyntheticCheckpoint("qwen2")
    var alone = try run(golden, steps)
    let prompts = (0..<3).map { Array(golden.prompt[$0...].prefix(14)) }
    let expected = try prompts.map {
      try alone.logits(of: $0, chunk: 64).suffix(alone.program.vocabularySize)
    }
    var ahead = try run(golden, steps, stepCountMax: stepCountMax)
    for position in 0..<13 {
      for sequence in [position % 3, (position + 1) % 3, (position + 2) % 3] {
        let token = prompts[sequence][position]
        try queue(CPUModelRun.plan([(sequence, [token], position)]), on: &ahead)
      }
    }
    let last = try ahead.logits(
      CPUModelRun.plan(prompts.enumerated().map { ($0.offset, [$0.element[13]], 13) }))
    #expect(bitsEqual(last, expected.flatMap { $0 }))
  }

  /// Fetched by a kernel, at the border, brought by a copy, and with more blocks than there is room
  /// for at first. The blocks that are added are never read.
  @Test(arguments: CUDASteps.allCases)
  func `how a plan comes changes no bit`(steps: CUDASteps) throws {
    let golden = try SyntheticCheckpoint("qwen2")
    let prompt = Array(golden.prompt.prefix(9))
    var first = try run(golden, steps)
    let expected = try first.logits(of: prompt, chunk: 3)
    for blockCount in [1, 150, 8_179, 8_180, 8_181, 30_000] {
      var other = try run(golden, steps)
      var logits: [Float] = []
      for start in stride(from: 0, to: prompt.count, by: 3) {
        var plan = CPUModelRun.plan([(0, Array(prompt[start..<start + 3]), start)])
        let missing = max(0, blockCount - plan.sequences[0].blocks.count)
        plan.sequences[0].blocks += [Int32](repeating: 5, count: missing)
        logits += try other.logits(plan)
      }
      #expect(bitsEqual(logits, expected), "\(blockCount) blocks")
    }
  }

  /// The memory of the plans grows while steps are queued that have theirs in it.
  @Test func `a longer plan does not take the memory of those under way`() throws {
    let golden = try SyntheticCheckpoint("qwen2")
    let prompt = Array(golden.prompt.prefix(20))
    var alone = try run(golden, .graphs)
    let expected = try alone.logits(of: prompt, chunk: 64)
    var growing = try run(golden, .graphs)
    for position in 0..<19 {
      var plan = CPUModelRun.plan([(0, [prompt[position]], position)])
      plan.sequences[0].blocks += [Int32](repeating: 5, count: position * 100)
      try queue(plan, on: &growing)
    }
    let last = try growing.logits(CPUModelRun.plan([(0, [prompt[19]], 19)]))
    #expect(bitsEqual(last, expected.suffix(last.count)))
  }
}
