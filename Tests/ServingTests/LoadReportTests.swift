// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Serving
import Support
import Testing
import Wire

/// What sessions are told of the load.
@Suite struct LoadReportTests {
  /// A server that tells at every look.
  private func server(interval: UInt64? = 1) throws -> TestServer {
    var limits = ServingLimits()
    limits.loadInterval = interval
    return try TestServer(limits: limits)
  }

  /// A look at open sessions. What it brings may arrive later: pongs go before reports.
  private func look(_ server: TestServer, _ sessions: SessionClient...) throws {
    try exchangePings(sessions)
    server.server.refreshHealth()
    try exchangePings(sessions)
  }

  /// The report of this number, from 1; waits for it.
  private func report(_ number: Int, to session: SessionClient) throws -> Silica_V1_Load {
    try session.read { $0.loads.count >= number }
    return try #require(session.loads.dropFirst(number - 1).first)
  }

  private func exchangePings(_ sessions: [SessionClient]) throws {
    for session in sessions {
      let nonce = UInt64.random(in: 1...(.max))
      try session.ping(nonce)
      try session.read { $0.pongs.last == nonce }
    }
  }

  @Test func `sessions hear of the load when it differs from what they heard last`() throws {
    let server = try server()
    let first = try SessionClient(server)
    try look(server, first)
    #expect(try report(1, to: first) == Silica_V1_Load())
    try look(server, first)
    #expect(first.loads.count == 1, "nothing has changed")
    server.gate.hold()
    try first.start(1, .greedy(tokens: 5))
    try first.read { $0.transcript(1).accepted != nil }
    #expect(eventually { server.engine.load().running == 1 })
    let second = try SessionClient(server)
    try look(server, first, second)
    let load = try report(2, to: first)
    #expect(load.running == 1 && load.waiting == 0 && (0...1).contains(load.kvUsed))
    #expect(try report(1, to: second) == load)
    server.gate.release()
    #expect(try first.finish(1).tokens.count == 5)
    #expect(eventually { server.isQuietButForSessions })
    try look(server, first, second)
    #expect(try report(3, to: first) == Silica_V1_Load())
    #expect(try report(2, to: second) == Silica_V1_Load())
    #expect(try first.close() == .ok)
    #expect(try second.close() == .ok)
  }

  /// Looks at a server whose cache fills, so that each look finds something new.
  private func look(
    at server: TestServer, while condition: (SessionClient) -> Bool
  ) throws -> SessionClient {
    server.gate.slowDown(microseconds: 5_000)
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 480))
    while condition(session) { try look(server, session) }
    try session.cancel(1)
    try session.finish(1)
    return session
  }

  @Test func `at most one report comes in each interval`() throws {
    let interval = 200_000_000 as UInt64
    let start = Clock.nowNanoseconds
    let session = try look(at: try server(interval: interval)) { $0.loads.count < 3 }
    let intervals = (Clock.nowNanoseconds - start) / interval
    #expect(session.loads.count <= Int(intervals) + 1)
  }

  @Test func `no report comes if there is no interval`() throws {
    var lookCount = 0
    let session = try look(at: try server(interval: nil)) { _ in
      lookCount += 1
      return lookCount <= 50
    }
    #expect(session.loads.isEmpty)
  }

  @Test func `a client that does not read has one report waiting, the latest`() throws {
    var limits = ServingLimits()
    limits.loadInterval = 1
    limits.unsentTokens = 16
    let server = try TestServer(limits: limits)
    var window = RPCLimits()
    window.streamWindowBytes = 64 << 10
    let channel = TestServer.channel(to: server.address, limits: window)
    defer { channel.poller.stop() }
    let stalled = try SessionClient(server, on: channel)
    try stalled.start(
      1,
      .greedy(tokens: 480) {
        $0.output.logprobs = 20
        $0.output.n = 16
      })
    #expect(eventually { server.engine.load().paused == 16 })
    let session = try SessionClient(server)
    // The load changes many times.
    for key in 1...20 as ClosedRange<UInt32> {
      server.gate.hold()
      try session.start(key, .greedy(tokens: 2))
      #expect(eventually { server.engine.load().running == 1 })
      try look(server, session)
      server.gate.release()
      try session.finish(key)
      #expect(eventually { server.engine.load().running == 0 })
      try look(server, session)
    }
    #expect(session.loads.count >= 20)
    try stalled.finish(1)
    // One may have been on its way when the client stopped.
    #expect((1...2).contains(stalled.loads.count))
    #expect(stalled.loads.last?.paused == 16 && stalled.loads.last?.running == 0)
    #expect(try stalled.close() == .ok)
  }
}

extension TestServer {
  fileprivate var isQuietButForSessions: Bool {
    let load = engine.load()
    return load.running == 0 && load.waiting == 0 && load.kvBlocksUsed == 0
  }
}
