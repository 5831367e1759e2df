// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import Serving
import Step
import Support
import Testing
import Wire

@Suite struct UpdateTests {
  private func update(
    _ session: SessionClient, _ key: UInt32, _ change: (inout Silica_V1_Update) -> Void
  ) throws {
    try session.send(key, .update(.with(change)))
  }

  @Test func `max_tokens can be moved both ways`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 3_000)
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 400))
    #expect(try session.read { $0.transcript(1).tokens.count >= 3 })
    try update(session, 1) { $0.maxTokens = 1 }
    let cut = try session.finish(1)
    #expect(cut.finished?.reason == .length && cut.tokens.count < 400)
    try session.start(2, .greedy(tokens: 50))
    #expect(try session.read { $0.transcript(2).tokens.count >= 3 })
    try update(session, 2) { $0.maxTokens = 90 }
    server.gate.slowDown(microseconds: 0)
    #expect(try session.finish(2).tokens.count == 90)
  }

  @Test func `a change before the prompt is tokenised counts`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    server.gate.hold()
    try session.start(1, .greedy(tokens: 50))
    try update(session, 1) { $0.maxTokens = 9 }
    try update(session, 1) { $0.priority = 3 }
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 9)
  }

  @Test func `a deadline counts from the update`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 20_000)
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 400))
    #expect(try session.read { $0.transcript(1).tokens.count >= 2 })
    try update(session, 1) { $0.deadlineMs = 60 }
    #expect(try session.finish(1).finished?.reason == .deadline)
  }

  @Test func `a larger priority goes first, and the queue says where one is`() throws {
    let server = try TestServer { $0.batchMax = 1 }
    let session = try SessionClient(server)
    server.gate.hold()
    for key in 1...4 as ClosedRange<UInt32> { try session.start(key, .greedy(tokens: 4)) }
    #expect(try session.read { $0.transcript(4).progress.last?.queuePosition == 2 })
    #expect(session.transcript(2).progress.last?.queuePosition == 0)
    try update(session, 4) { $0.priority = 1 }
    #expect(try session.read { $0.transcript(4).progress.last?.queuePosition == 0 })
    server.gate.release()
    #expect(try session.read { $0.transcript(4).isOver })
    #expect(!session.transcript(2).isOver && !session.transcript(3).isOver)
    try session.finish(1, 2, 3)
  }

  @Test func `thinking ends at the next token`() throws {
    let server = try TestServer()
    let thinking = try #require(server.model.thinking)
    server.gate.slowDown(microseconds: 3_000)
    let session = try SessionClient(server)
    let start = Silica_V1_Start.greedy("<think>Let me see", tokens: 200)
    let expected = try session.run(1, start).tokens
    #expect(!expected.contains(thinking.end), "the model would go on thinking")
    #expect(session.transcript(1).accepted?.thinking == true)
    try session.start(2, start)
    #expect(try session.read { $0.transcript(2).tokens.count >= 3 })
    try update(session, 2) { $0.endThinking = true }
    let tokens = try session.finish(2).tokens
    let end = try #require(tokens.firstIndex(of: thinking.end))
    #expect(tokens[..<end] == expected[..<end] && end < 100)
    #expect(tokens.count(where: { $0 == thinking.end }) == 1)
    // Where nothing is thought of, nothing happens.
    try session.start(3, .greedy(tokens: 60))
    try update(session, 3) { $0.endThinking = true }
    #expect(try !session.finish(3).tokens.contains(thinking.end))
    #expect(session.transcript(3).accepted?.thinking == false)
  }

  @Test func `what cannot be is refused, and the generation goes on`() throws {
    let server = try TestServer { $0.kvMemoryBytes = 40 << 10 }
    let session = try SessionClient(server)
    server.gate.hold()
    try session.start(1, .greedy(tokens: 8) { $0.stopping.minTokens = 5 })
    try update(session, 1) { $0.maxTokens = 4 }
    try session.read { $0.transcript(1).refusals.count == 1 }
    #expect(session.transcript(1).refusals[0].status.message.contains("expected 5 or more"))
    try session.read { $0.transcript(1).accepted != nil }
    try update(session, 1) { $0.maxTokens = 480 }
    try session.read { $0.transcript(1).refusals.count == 2 }
    let error = try ErrorDetails(session.transcript(1).refusals[1])
    #expect(error.fields == ["update.max_tokens"] && error.message.contains("KV cache"))
    try update(session, 9) { $0.priority = 4 }
    try session.read { $0.streamFailures.count == 1 }
    #expect(try ErrorDetails(session.streamFailures[0]).reason == "UNKNOWN_GENERATION")
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 8)
  }
}
