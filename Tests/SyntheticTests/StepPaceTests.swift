// SPDX-License-Identifier: Apache-2.0

import Step
import Synthetic
import Testing

@Suite struct StepPaceTests {
  /// Prompt tokens of one sequence without an answer yet, and sequences that each take a token.
  private func plan(promptTokens: Int = 0, decoding: Int = 0) -> StepPlan {
    var sequences: [StepSequence] = []
    if promptTokens > 0 {
      sequences.append(
        StepSequence(
          id: SequenceID(0), rows: 0..<promptTokens, firstPosition: 0, blocks: [], outputs: .none))
    }
    for index in 0..<decoding {
      let row = promptTokens + index
      sequences.append(
        StepSequence(
          id: SequenceID(UInt64(index + 1)), rows: row..<row + 1, firstPosition: 9, blocks: [],
          outputs: .last))
    }
    let count = promptTokens + decoding
    return StepPlan(id: 1, tokens: Array(repeating: 0, count: count), sequences: sequences)
  }

  private func pace(tokenRate: Double? = nil, prefillRate: Double? = nil) -> StepPace {
    var configuration = SyntheticConfiguration()
    configuration.tokenRate = tokenRate
    configuration.prefillRate = prefillRate
    return StepPace(configuration)
  }

  @Test func `without a rate nothing is waited for`() {
    var pace = pace()
    #expect(pace.end(of: plan(promptTokens: 100, decoding: 4), now: 5) == nil)
  }

  @Test func `a step takes the time of one token, whatever the batch`() {
    var pace = pace(tokenRate: 100)
    let start: UInt64 = 1_000_000_000
    #expect(pace.end(of: plan(decoding: 1), now: start) == start + 10_000_000)
    var other = self.pace(tokenRate: 100)
    #expect(other.end(of: plan(decoding: 64), now: start) == start + 10_000_000)
  }

  @Test func `what passes between steps comes off the wait`() {
    var pace = pace(tokenRate: 1_000)
    let start: UInt64 = 1_000_000_000
    var end = start
    for _ in 0..<1_000 {
      end = pace.end(of: plan(decoding: 2), now: end + (end == start ? 0 : 300_000)) ?? 0
    }
    #expect(end == start + 1_000_000_000, "a thousand tokens in a second")
  }

  @Test func `after a pause a step takes its whole time again`() {
    var pace = pace(tokenRate: 100)
    let first = pace.end(of: plan(decoding: 1), now: 1_000_000_000) ?? 0
    let now = first + StepPace.gapMax + 1
    #expect(pace.end(of: plan(decoding: 1), now: now) == now + 10_000_000)
  }

  @Test func `prompt tokens take their own time, in addition`() {
    var pace = pace(tokenRate: 100, prefillRate: 10_000)
    let start: UInt64 = 1_000_000_000
    #expect(pace.end(of: plan(promptTokens: 50), now: start) == start + 5_000_000)
    let next = pace.end(of: plan(promptTokens: 50, decoding: 2), now: start + 5_000_000)
    #expect(next == start + 20_000_000)
  }
}
