// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Serving
import Testing
import Wire

/// Many generations on one stream.
@Suite struct SessionTests {
  @Test func `one of several generations is cancelled, and the others are not touched`() throws {
    let server = try TestServer()
    let prompts = ["Once upon a time", "The answer is", "In the beginning"]
    let alone = try prompts.map { try server.generate(.greedy($0, tokens: 60)).transcript }
    server.gate.slowDown(microseconds: 1_000)
    let session = try SessionClient(server)
    for (key, prompt) in zip([10, 20, 30] as [UInt32], prompts) {
      try session.start(key, .greedy(prompt, tokens: 60))
    }
    try session.read { $0.transcript(20).tokens.count >= 5 }
    try session.cancel(20)
    try session.finish(10, 20, 30)
    #expect(session.transcript(10).tokens == alone[0].tokens)
    #expect(session.transcript(10).text == alone[0].text)
    #expect(session.transcript(30).tokens == alone[2].tokens)
    #expect(session.transcript(30).text == alone[2].text)
    let cancelled = session.transcript(20)
    #expect(cancelled.finished?.reason == .cancelled)
    #expect(cancelled.tokens.count < 60)
    #expect(cancelled.tokens == Array(alone[1].tokens.prefix(cancelled.tokens.count)))
    #expect(cancelled.finished?.usage.generatedTokens == UInt32(cancelled.tokens.count))
    #expect(try session.close() == .ok)
    #expect(eventually { server.isQuiet })
  }

  @Test func `half-closing lets generations finish`() throws {
    let server = try TestServer()
    let alone = try server.generate(.greedy(tokens: 30)).transcript
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 30))
    try session.start(2, .greedy(tokens: 10))
    #expect(try session.close() == .ok)
    #expect(session.transcript(1).tokens == alone.tokens)
    #expect(session.transcript(2).tokens == Array(alone.tokens.prefix(10)))
    #expect(try SessionClient(server).close() == .ok, "a session without a generation")
  }

  @Test func `a number is free again when its generation is over`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    let first = try session.run(5, .greedy(tokens: 4))
    let second = try session.run(5, .greedy(tokens: 6))
    #expect(second.tokens.prefix(4) == first.tokens[...])
    #expect(second.tokens.count == 6)
  }

  @Test func `a number in use is refused, and its generation goes on`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    server.gate.hold()
    try session.start(3, .greedy(tokens: 8))
    try session.start(3, .greedy(tokens: 8))
    try session.read { !$0.transcript(3).refusals.isEmpty }
    server.gate.release()
    let transcript = try session.finish(3)
    let error = try ErrorDetails(transcript.refusals.first)
    #expect(error.code == StatusCode.alreadyExists.rawValue)
    #expect(error.reason == "GENERATION_IN_USE")
    #expect(transcript.refusals.count == 1)
    #expect(transcript.tokens.count == 8)
  }

  @Test func `numbers that are 0 or unknown are refused, and the stream goes on`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    try session.send(0, .start(.greedy(tokens: 1)))
    try session.cancel(99)
    try session.read { $0.streamFailures.count == 2 }
    let zero = try ErrorDetails(session.streamFailures[0])
    #expect(zero.code == StatusCode.invalidArgument.rawValue)
    #expect(zero.fields == ["generation"])
    let unknown = try ErrorDetails(session.streamFailures[1])
    #expect(unknown.code == StatusCode.notFound.rawValue)
    #expect(unknown.reason == "UNKNOWN_GENERATION")
    #expect(unknown.message.contains("99"))
    #expect(try session.run(1, .greedy(tokens: 3)).tokens.count == 3)
  }

  @Test func `frames that are unknown, wrong or undecodable are refused`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    server.gate.hold()
    try session.start(1, .greedy(tokens: 5))
    try session.send(1, .credit(Silica_V1_Credit()))
    try session.send(1, .update(.with { $0.maxTokens = 0 }))
    try session.send(1, .resume(Silica_V1_Resume()))
    try session.send(1, nil)
    try session.read { $0.transcript(1).refusals.count == 4 }
    let errors = try session.transcript(1).refusals.map { try ErrorDetails($0) }
    #expect(errors.map(\.code) == [3, 3, 6, 3])
    #expect(
      errors.map(\.fields) == [["credit.tokens"], ["update.max_tokens"], ["generation"], ["frame"]])
    #expect(errors[3].reason == "UNKNOWN_FRAME")
    // Generation 2 with field 99, which is in no version.
    try session.call.send([8, 2, 0x9A, 6, 1, 7])
    try session.call.send([0x12, 0xFF, 0xFF])
    try session.call.send([0xFF])
    try session.read { $0.streamFailures.count == 3 }
    let others = try session.streamFailures.map { try ErrorDetails($0) }
    #expect(others.map(\.reason) == ["UNKNOWN_FRAME", "BAD_FRAME", "BAD_FRAME"])
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 5)
    #expect(try session.close() == .ok)
  }

  @Test func `pings are answered in order`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    for nonce in 0..<200 as Range<UInt64> { try session.ping(nonce) }
    #expect(try session.close() == .ok)
    #expect(session.pongs == Array(0..<200))
  }

  @Test func `as many generations run on a stream as may`() throws {
    var limits = ServingLimits()
    limits.generationsPerStream = 2
    let server = try TestServer(limits: limits)
    let session = try SessionClient(server)
    server.gate.hold()
    for key in 1...3 as ClosedRange<UInt32> { try session.start(key, .greedy(tokens: 2)) }
    let refused = try ErrorDetails(try session.finish(3).failed)
    #expect(refused.code == StatusCode.resourceExhausted.rawValue)
    #expect(refused.reason == "STREAM_FULL")
    #expect(refused.retryMilliseconds ?? 0 > 0)
    server.gate.release()
    try session.finish(1, 2)
    #expect(try session.run(3, .greedy(tokens: 2)).tokens.count == 2)
  }
}
