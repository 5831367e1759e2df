// SPDX-License-Identifier: Apache-2.0

import Cache
import Scheduler
import Step
import Support
import Testing

@Suite struct AdmissionTests {
  private func refusal(_ bench: Bench, _ requests: [SequenceRequest]) -> AdmissionError? {
    do {
      try bench.scheduler.enqueue(requests, now: bench.now)
      return nil
    } catch {
      return error
    }
  }

  private func request(_ id: UInt64, _ prompt: [Int32], maxTokens: Int? = 4) -> SequenceRequest {
    SequenceRequest(
      id: SequenceID(id), prompt: prompt, stopping: StoppingParameters(maxTokens: maxTokens))
  }

  @Test(
    "What can never run is refused by the name of its field",
    arguments: [
      ([], 4, "input", "input is empty; expected at least 1 token"),
      (
        prompt(200), 4, "input",
        "input is 200 tokens; expected at most 199, as the context holds 200"
      ),
      (
        [1, 1000], 4, "input",
        "input holds token 1000 at position 1; expected ids from 0 to 999"
      ),
      ([-1], 4, "input", "input holds token -1 at position 0; expected ids from 0 to 999"),
      ([1], 0, "max_tokens", "max_tokens is 0; expected 1 or more"),
      (
        prompt(60), 100, "max_tokens",
        "max_tokens is 100 after 60 tokens of input; expected at most 37, as the KV cache holds 96 "
          + "tokens"
      ),
      (
        prompt(97), nil, "input",
        "input is 97 tokens; expected at most 96, which the KV cache holds"
      ),
    ] as [([Int32], Int?, String, String)])
  func unfitRequests(prompt: [Int32], maxTokens: Int?, field: String, message: String) {
    let bench = Bench(blocks: 24)
    let error = refusal(bench, [request(1, prompt, maxTokens: maxTokens)])
    #expect(error == .unfit(field: field, message: message))
    #expect(error?.code == .invalidArgument)
    #expect(bench.scheduler.sequenceCount == 0)
  }

  @Test("A sequence that fills the whole cache alone gets to its end", arguments: [1, 2, 8])
  func theLargestFits(slices: Int) throws {
    let bench = Bench(blocks: 24 / slices) { $0.contextSlices = slices }
    try bench.enqueue(1, prompt: prompt(60), maxTokens: 37)
    try bench.enqueue(2, prompt: prompt(60, 100), maxTokens: nil)
    bench.finish()
    #expect(bench.tokens(1).count == 37)
    #expect(bench.tokens(2).count == 37)
  }

  @Test("A full queue refuses with what is full and when to try again")
  func fullQueues() throws {
    let bench = Bench {
      $0.waitingCountMax = 3
      $0.waitingPromptTokensMax = 50
      $0.sequenceCountMax = 1
    }
    try bench.enqueue(1, prompt: prompt(20))
    try bench.enqueue(2, prompt: prompt(20, 100))
    let tokens = try #require(refusal(bench, [request(9, prompt(11))]))
    #expect(tokens.code == .resourceExhausted)
    #expect(
      tokens
        == .full(.promptTokens, holds: 40, limit: 50, retryDelay: 1_000_000_000))
    #expect(
      tokens.message == "the waiting queue is full: it holds 40 prompt tokens of at most 50")
    let count = refusal(bench, [request(9, [1]), request(10, [1])])
    #expect(count == .full(.sequences, holds: 2, limit: 3, retryDelay: 1_000_000_000))
    let choices = refusal(bench, (11...14).map { request($0, [1]) })
    #expect(choices == .unfit(field: "n", message: "n is 4; expected at most 3"))
    bench.finish()
    #expect(refusal(bench, [request(9, prompt(60))]) == nil)
  }

  @Test("The retry delay follows the speed at which the queue empties")
  func retryDelays() throws {
    func delay(stepTime: Nanoseconds) throws -> Nanoseconds {
      let bench = Bench {
        $0.waitingCountMax = 4
        $0.sequenceCountMax = 1
      }
      for id in UInt64(1)...60 {
        try bench.enqueue(id, prompt: prompt(4, Int32(id)), maxTokens: 1)
        _ = bench.plan()
        bench.now += stepTime
        bench.complete()
      }
      for id in UInt64(61)...64 { try bench.enqueue(id, prompt: [1]) }
      guard case .full(_, _, _, let delay) = refusal(bench, [request(65, [1])]) else { return 0 }
      return delay
    }
    // A sequence leaves the queue in each step, of one millisecond more than asked for.
    let slow = try delay(stepTime: 1_999_000_000)
    #expect(abs(Double(slow) / 2_000_000_000 - 1) < 0.2)
    let fast = try delay(stepTime: 99_000_000)
    #expect(abs(Double(fast) / 100_000_000 - 1) < 0.2)
  }

  @Test("A long prompt at the head of the queue is not passed by shorter ones for ever")
  func theHeadDoesNotStarve() throws {
    let bench = Bench(blocks: 16) { $0.reusesPrefixes = false }
    try bench.enqueue(1, prompt: prompt(20), maxTokens: 20)
    _ = bench.plan()
    bench.complete()
    try bench.enqueue(2, prompt: prompt(56, 100), maxTokens: 2)
    for id in UInt64(3)...40 { try bench.enqueue(id, prompt: prompt(8, Int32(id)), maxTokens: 9) }
    bench.finish()
    let order = bench.events.compactMap { event -> UInt64? in
      if case .finished(let id, _, _) = event { id.value } else { nil }
    }
    #expect(order.prefix(2) == [1, 2])
    #expect(order.count == 40)
  }
}
