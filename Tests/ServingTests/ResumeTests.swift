// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Serving
import Testing
import Wire

@Suite struct ResumeTests {
  private static let tokenCount = 120

  private static func start(_ resumeMilliseconds: UInt32 = 60_000) -> Silica_V1_Start {
    .greedy(tokens: tokenCount) { $0.limits.resumeMs = resumeMilliseconds }
  }

  /// A session whose generation 5 has begun, and whose call is cancelled then.
  private static func broken(
    _ server: TestServer, on channel: Channel? = nil, after tokens: Int = 10,
    _ start: Silica_V1_Start = start()
  ) throws -> SessionClient {
    let session = try SessionClient(server, on: channel)
    try session.start(5, start)
    #expect(try session.read { $0.transcript(5).tokens.count >= tokens })
    try session.call.cancel()
    return session
  }

  @Test(arguments: [1, 2])
  func `a generation outlives its stream, and goes on where it was`(pollerCount: Int) throws {
    let server = try TestServer(pollerCount: pollerCount)
    let expected = try server.generate(.greedy(tokens: Self.tokenCount)).transcript
    server.gate.slowDown(microseconds: 1_000)
    // Connections are spread over the pollers, so among these some change the poller.
    for round in 0..<(pollerCount * 3) {
      let channels = (0..<2).map { _ in TestServer.channel(to: server.address) }
      defer { for channel in channels { channel.poller.stop() } }
      let first = try Self.broken(server, on: channels[0])
      let second = try SessionClient(server, on: channels[1])
      if round == 0 {
        #expect(eventually { (try? server.statistics().generationsDetached) == 1 })
      }
      try second.resume(5, of: first, as: 9)
      let transcript = try second.finish(9)
      #expect(transcript.tokens == expected.tokens && transcript.text == expected.text)
      #expect(transcript.finished?.usage.generatedTokens == UInt32(Self.tokenCount))
      #expect(try second.close() == .ok)
    }
  }

  @Test func `frames that were lost on the way come again`() throws {
    let server = try TestServer()
    let expected = try server.generate(.greedy(tokens: Self.tokenCount)).transcript
    server.gate.slowDown(microseconds: 1_000)
    let first = try Self.broken(server)
    let token = try #require(first.transcript(5).accepted?.resumeToken)
    // As if nothing at all had arrived, and once more so.
    for _ in 0..<2 {
      let second = try SessionClient(server)
      try second.expect(generation: 1, resuming: token)
      let transcript = try second.finish(1)
      #expect(transcript.accepted?.resumeToken == token)
      #expect(transcript.tokens == expected.tokens && transcript.text == expected.text)
    }
    let statistics = try server.statistics()
    #expect(statistics.generationsBegun == 2 && statistics.generationsEnded == 2)
  }

  @Test func `a stream that still lives is told that its generation has moved`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 1_000)
    let first = try SessionClient(server)
    try first.start(5, Self.start())
    #expect(try first.read { $0.transcript(5).tokens.count >= 10 })
    let second = try SessionClient(server)
    try second.resume(5, of: first, as: 5)
    #expect(try second.finish(5).tokens.count == Self.tokenCount)
    try first.finish(5)
    let told = try ErrorDetails(first.transcript(5).failed)
    #expect(told.reason == "RESUMED_ELSEWHERE")
    #expect(try first.run(6, .greedy(tokens: 3)).tokens.count == 3)
  }

  @Test func `what is not resumed in time ends, and gives everything back`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 2_000)
    let first = try Self.broken(server, Self.start(200))
    #expect(
      eventually {
        server.server.refreshHealth()
        return server.isQuiet
      })
    let second = try SessionClient(server)
    try second.resume(5, of: first, as: 5)
    #expect(try ErrorDetails(second.finish(5).failed).reason == "UNKNOWN_GENERATION")
    #expect(try server.statistics().generationsDetached == 0)
  }

  @Test func `without resume_ms a broken stream ends its generations`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 2_000)
    _ = try Self.broken(server, .greedy(tokens: 400))
    #expect(eventually { server.isQuiet })
  }

  @Test func `frames that are not kept, or were never sent, are refused`() throws {
    var limits = ServingLimits()
    limits.replayBytes = 1_000
    let server = try TestServer(limits: limits)
    server.gate.slowDown(microseconds: 1_000)
    let first = try Self.broken(server, after: 60)
    let token = try #require(first.transcript(5).accepted?.resumeToken)
    let second = try SessionClient(server)
    for (number, after, reason) in [(1, 0, "NOT_KEPT"), (2, 9_999, "NOT_SENT")] {
      let resume = Silica_V1_Resume.with {
        $0.token = token
        $0.afterSequence = UInt64(after)
      }
      try second.send(UInt32(number), .resume(resume))
      try second.read { $0.streamFailures.count == number }
      #expect(try ErrorDetails(second.streamFailures[number - 1]).reason == reason)
    }
    try second.send(3, .resume(.with { $0.token = "no such token" }))
    try second.read { $0.streamFailures.count == 3 }
    #expect(try ErrorDetails(second.streamFailures[2]).reason == "UNKNOWN_GENERATION")
    try second.resume(5, of: first, as: 4)
    #expect(try second.finish(4).tokens.count == Self.tokenCount, "it was kept all the same")
  }

  @Test func `without a stream a generation stops at its window`() throws {
    var limits = ServingLimits()
    limits.unsentTokens = 20
    let server = try TestServer(limits: limits)
    let session = try SessionClient(server)
    try session.start(
      5,
      .greedy(tokens: 400) {
        $0.limits.resumeMs = 60_000
        $0.limits.credit = 5
      })
    #expect(try session.read { $0.transcript(5).tokens.count == 5 })
    try session.send(5, .credit(.with { $0.tokens = .max }))
    try session.call.cancel()
    #expect(eventually { server.engine.load().paused == 1 })
    let second = try SessionClient(server)
    try second.resume(5, of: session, as: 5)
    // The one before may have been lost with the stream.
    try second.send(5, .credit(.with { $0.tokens = .max }))
    #expect(try second.finish(5).tokens.count == 400)
  }

  @Test func `the oldest go first when too many wait`() throws {
    var limits = ServingLimits()
    limits.detachedGenerations = 2
    let server = try TestServer(limits: limits)
    server.gate.slowDown(microseconds: 2_000)
    var broken: [SessionClient] = []
    for count in 1...3 {
      broken.append(try Self.broken(server))
      #expect(
        eventually { (try? server.statistics().generationsDetached) == UInt64(min(count, 2)) })
    }
    let session = try SessionClient(server)
    for (index, client) in broken.enumerated() {
      try session.resume(5, of: client, as: UInt32(index + 1))
      try session.finish(UInt32(index + 1))
    }
    #expect(try ErrorDetails(session.transcript(1).failed).reason == "UNKNOWN_GENERATION")
    #expect(session.transcript(2).tokens.count == Self.tokenCount)
    #expect(session.transcript(3).tokens.count == Self.tokenCount)
  }
}
