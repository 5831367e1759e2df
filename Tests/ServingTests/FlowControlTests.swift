// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Serving
import Testing
import Wire

@Suite struct FlowControlTests {
  @Test func `credit is kept to the token, and the place is lent out meanwhile`() throws {
    let server = try TestServer { $0.batchMax = 1 }
    let expected = try server.generate(.greedy(tokens: 40)).transcript.tokens
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 40) { $0.limits.credit = 3 })
    #expect(try session.read { $0.transcript(1).tokens.count == 3 })
    #expect(eventually { server.engine.load().paused == 1 })
    #expect(try session.run(2, .greedy("another", tokens: 9)).tokens.count == 9)
    #expect(session.transcript(1).tokens.count == 3)
    try session.send(1, .credit(.with { $0.tokens = 4 }))
    #expect(try session.read { $0.transcript(1).tokens.count == 7 })
    #expect(eventually { server.engine.load().paused == 1 })
    try session.send(1, .credit(.with { $0.tokens = .max }))
    #expect(try session.finish(1).tokens == expected)
    #expect(eventually { server.engine.load().paused == 0 })
  }

  @Test func `credit holds for each choice, and may be none at first`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    try session.start(
      1,
      .greedy(tokens: 20) {
        $0.output.n = 2
        $0.limits.credit = 0
      })
    #expect(eventually { server.engine.load().paused == 2 })
    try session.send(1, .credit(.with { $0.tokens = 5 }))
    #expect(try session.read { $0.transcript(1).choices.values.map(\.tokens.count) == [5, 5] })
    #expect(eventually { server.engine.load().paused == 2 })
    try session.cancel(1)
    try session.finish(1)
    #expect(session.transcript(1).first.finished?.reason == .cancelled)
    #expect(session.transcript(1).first.finished?.usage.generatedTokens == 5)
  }

  @Test func `the first credit counts from what was generated`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 5_000)
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 400))
    #expect(try session.read { $0.transcript(1).tokens.count >= 5 })
    try session.send(1, .credit(.with { $0.tokens = 2 }))
    #expect(eventually { server.engine.load().paused == 1 })
    try session.send(1, .credit(.with { $0.tokens = .max }))
    server.gate.slowDown(microseconds: 0)
    #expect(try session.finish(1).tokens.count == 400)
  }

  @Test func `a reader that stops is paused, costs no more than its window, and loses nothing`()
    throws
  {
    var limits = ServingLimits()
    limits.unsentTokens = 16
    let server = try TestServer(limits: limits)
    let start = Silica_V1_Start.greedy(tokens: 480) {
      $0.output.logprobs = 20
      $0.output.n = 16
    }
    let expected = try server.generate(start).transcript
    // Each token is about 300 bytes; the client takes none, so the transport is soon full.
    var window = RPCLimits()
    window.streamWindowBytes = 64 << 10
    let channel = TestServer.channel(to: server.address, limits: window)
    defer { channel.poller.stop() }
    let session = try SessionClient(server, on: channel)
    try session.start(1, start)
    #expect(eventually { server.engine.load().paused == 16 })
    let sent = try server.statistics().tokens
    #expect(try server.generate(.greedy(tokens: 30)).transcript.tokens.count == 30)
    #expect(try server.statistics().tokens == sent + 30, "nothing more was sent to the first")
    let transcript = try session.finish(1)
    for choice in 0..<16 as Range<UInt32> {
      let (found, wanted) = (transcript.choices[choice], expected.choices[choice])
      let isSame = found?.tokens == wanted?.tokens && found?.logprobs == wanted?.logprobs
      #expect(isSame, "choice \(choice)")
    }
    #expect(try session.close() == .ok)
    #expect(eventually { server.isQuiet })
  }

  @Test func `a delta holds no more tokens than the client asked for`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    let whole = try session.run(1, .greedy(tokens: 50))
    for (size, key) in [(1, 2), (7, 3)] as [(UInt32, UInt32)] {
      let before = try server.statistics()
      let parts = try session.run(key, .greedy(tokens: 50) { $0.output.deltaTokensMax = size })
      #expect(parts.tokens == whole.tokens && parts.text == whole.text)
      let messages = try server.statistics().tokenMessages - before.tokenMessages
      #expect(messages >= 50 / UInt64(size) && (size > 1 || messages == 50))
    }
    let refused = try session.run(4, .greedy(tokens: 5) { $0.output.deltaTokensMax = 0 })
    #expect(try ErrorDetails(refused.failed).fields == ["start.output.delta_tokens_max"])
  }

  @Test func `Generate refuses what needs frames`() throws {
    let server = try TestServer()
    let credit = try server.generate(.greedy(tokens: 5) { $0.limits.credit = 3 })
    #expect(try ErrorDetails(credit.status).fields == ["start.limits.credit"])
    let resume = try server.generate(.greedy(tokens: 5) { $0.limits.resumeMs = 3 })
    #expect(try ErrorDetails(resume.status).fields == ["start.limits.resume_ms"])
  }
}
