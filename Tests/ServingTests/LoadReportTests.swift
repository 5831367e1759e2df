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

  /// A look at open sessions, and all of what it has brought.
  private func look(_ server: TestServer, _ sessions: SessionClient...) throws {
    try exchangePings(sessions)
    server.server.refreshHealth()
    try exchangePings(sessions)
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
    #expect(first.loads == [Silica_V1_Load()])
    try look(server, first)
    #expect(first.loads.count == 1, "nothing has changed")
    server.gate.hold()
    try first.start(1, .greedy(tokens: 5))
    try first.read { $0.transcript(1).accepted != nil }
    #expect(eventually { server.engine.load().running == 1 })
    let second = try SessionClient(server)
    try look(server, first, second)
    #expect(first.loads.count == 2)
    #expect(first.loads.last?.running == 1 && first.loads.last?.waiting == 0)
    #expect((0...1).contains(first.loads.last?.kvUsed ?? 2))
    #expect(second.loads == [first.loads[1]])
    server.gate.release()
    #expect(try first.finish(1).tokens.count == 5)
    #expect(eventually { server.isQuietButForSessions })
    try look(server, first, second)
    #expect(first.loads.last == Silica_V1_Load() && second.loads.last == Silica_V1_Load())
    #expect(try first.close() == .ok)
    #expect(try second.close() == .ok)
  }

  @Test func `at most one report comes in each interval, and none if there is no interval`() throws
  {
    for (interval, range) in [(200_000_000, 2...4), (nil, 0...0)] as [(UInt64?, ClosedRange<Int>)] {
      let server = try server(interval: interval)
      server.gate.slowDown(microseconds: 2_000)
      let session = try SessionClient(server)
      try session.start(1, .greedy(tokens: 480))
      try session.read { $0.transcript(1).tokens.count > 1 }
      try look(server, session)
      let (count, start) = (session.loads.count, Clock.nowNanoseconds)
      #expect(count == range.upperBound.signum())
      // The cache fills, so that each look finds something new.
      while Clock.nowNanoseconds < start + 600_000_000 { try look(server, session) }
      #expect(range.contains(session.loads.count - count + range.lowerBound.signum()))
      try session.cancel(1)
      try session.finish(1)
    }
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
