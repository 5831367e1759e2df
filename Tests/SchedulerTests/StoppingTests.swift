// SPDX-License-Identifier: Apache-2.0

import Cache
import Scheduler
import Step
import Support
import Testing

@Suite struct StoppingTests {
  private func run(_ stopping: StoppingParameters, promptCount: Int = 6, contextLength: Int = 200)
    throws -> (tokens: [Int32], reason: FinishReason?)
  {
    let bench = Bench(contextLength: contextLength)
    try bench.scheduler.enqueue(
      [SequenceRequest(id: SequenceID(1), prompt: prompt(promptCount), stopping: stopping)], now: 0)
    bench.finish()
    return (bench.tokens(1), bench.end(1)?.reason)
  }

  @Test("A stop token ends a sequence once min_tokens are generated, and is its last token")
  func stopTokensEnd() throws {
    let expected = Bench().model.continuation(of: prompt(6), count: 10)
    let stop = StoppingParameters(maxTokens: 10, stopTokens: [expected[3]])
    let (tokens, reason) = try run(stop)
    #expect(tokens == Array(expected[...3]))
    #expect(reason == .stopToken(expected[3]))

    let late = StoppingParameters(maxTokens: 10, minTokens: 4, stopTokens: [expected[3]])
    #expect(try run(late).tokens == expected)
    let exact = StoppingParameters(maxTokens: 10, minTokens: 3, stopTokens: [expected[3]])
    #expect(try run(exact).tokens.count == 4)
  }

  @Test("A stop token counts before max_tokens when both come together")
  func stopTokensComeFirst() throws {
    let expected = Bench().model.continuation(of: prompt(6), count: 4)
    let (_, reason) = try run(StoppingParameters(maxTokens: 4, stopTokens: [expected[3]]))
    #expect(reason == .stopToken(expected[3]))
  }

  @Test("max_tokens and the end of the context end a sequence with its length")
  func lengthsEnd() throws {
    #expect(try run(StoppingParameters(maxTokens: 3)).tokens.count == 3)
    #expect(try run(StoppingParameters(maxTokens: 3)).reason == .length)
    #expect(try run(StoppingParameters(maxTokens: 50), contextLength: 16).tokens.count == 10)
    #expect(try run(StoppingParameters(), contextLength: 16).tokens.count == 10)
    #expect(try run(StoppingParameters(), promptCount: 15, contextLength: 16).tokens.count == 1)
  }

  @Test("A smaller max_tokens ends a sequence that is past it")
  func updatesEnd() throws {
    let bench = Bench()
    try bench.enqueue(1, prompt: prompt(6), maxTokens: 20)
    for _ in 0..<5 {
      _ = bench.plan()
      bench.complete()
    }
    #expect(try bench.update(1, maxTokens: 4))
    #expect(bench.end(1)?.reason == .length)
    #expect(bench.tokens(1).count == 5)
    #expect(try !bench.update(1, maxTokens: 4))
  }

  @Test("A deadline ends a sequence in the queue, in the batch and in a step")
  func deadlinesEnd() throws {
    let bench = Bench { $0.sequenceCountMax = 1 }
    try bench.enqueue(1, prompt: prompt(6), maxTokens: 50, deadline: 5_000_000)
    try bench.enqueue(2, prompt: prompt(6, 50), deadline: 2_000_000)
    #expect(bench.scheduler.nextDeadline == 2_000_000)
    _ = bench.plan()
    bench.complete()
    bench.now = 2_000_000
    _ = bench.plan()
    let events = bench.scheduler.takeEvents()
    #expect(events.count == 1)
    bench.now = 6_000_000
    bench.scheduler.expire(now: bench.now)
    #expect(bench.end(1) == nil)
    bench.complete()
    #expect(bench.end(1)?.reason == .deadline)
    #expect(bench.tokens(1).count == 1)
    #expect(bench.scheduler.sequenceCount == 0)
  }

  @Test("A failure ends its sequence and no other")
  func failuresEnd() throws {
    let bench = Bench()
    try bench.enqueue(1, prompt: prompt(6))
    try bench.enqueue(2, prompt: prompt(6, 50))
    _ = bench.plan()
    let error = SequenceError(.internal, "made to fail")
    bench.underWay[0].outcomes[0] = .failed(error)
    bench.complete()
    #expect(bench.end(1)?.reason == .failed(error))
    bench.finish()
    #expect(bench.end(2)?.reason == .length)
  }

  @Test("The account says where the time went")
  func accountsAddUp() throws {
    let bench = Bench { $0.prefillChunkMax = 4 }
    bench.now = 3_000_000
    try bench.enqueue(1, prompt: prompt(8), maxTokens: 3)
    bench.now = 10_000_000
    bench.finish()
    let account = try #require(bench.end(1)?.account)
    #expect(account.queueTime == 7_000_000)
    #expect(account.prefillTime == 2_000_000)
    #expect(account.decodeTime == 2_000_000)
    #expect(account.promptTokens == 8)
    #expect(account.generatedTokens == 3)
  }
}
