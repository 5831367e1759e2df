// SPDX-License-Identifier: Apache-2.0

import Scheduler
import Step
import Testing

@Suite struct ReplayTests {
  /// One line for each plan: its rows by sequence, first position and blocks.
  private func line(_ plan: StepPlan) -> String {
    let parts = plan.sequences.map { sequence in
      let blocks = sequence.blocks.map { "\($0)" }.joined(separator: ",")
      let output = sequence.outputs == .last ? "!" : ""
      return "\(sequence.id.value)@\(sequence.firstPosition)+\(sequence.rows.count)\(output)"
        + "[\(blocks)]"
    }
    return "\(plan.id): " + parts.joined(separator: " ")
  }

  @Test("A recorded run gives the plans that were recorded")
  func recordedPlans() throws {
    let bench = Bench(blocks: 6) {
      $0.contextSlices = 2
      $0.planInFlightMax = 2
      $0.prefillChunkMax = 8
      $0.sequenceCountMax = 3
    }
    var lines: [String] = []
    for turn in 0..<60 {
      switch turn {
      case 0: try bench.enqueue(1, prompt: prompt(13), maxTokens: 9)
      case 1: try bench.enqueue(2, prompt: prompt(13), maxTokens: 20)
      case 2: try bench.enqueue(3, prompt: prompt(6, 40), maxTokens: 12, priority: 1)
      case 5: try bench.enqueue(4, prompt: prompt(20, 60), maxTokens: 4)
      case 9: #expect(bench.pause(3))
      case 14: #expect(bench.resume(3))
      case 17: try bench.enqueue(5, prompt: prompt(3, 90), maxTokens: 30, priority: 2)
      case 22: #expect(bench.end(5, .cancelled))
      default: break
      }
      while let plan = bench.plan() { lines.append(line(plan)) }
      if !bench.underWay.isEmpty { bench.complete() }
    }
    #expect(bench.scheduler.sequenceCount == 0)
    #expect(lines.joined(separator: "\n") == recordedTrace)
  }
}
