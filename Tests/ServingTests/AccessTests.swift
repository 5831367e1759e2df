// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Serving
import Support
import TestSupport
import Testing
import Wire

/// Who is let in, and how much each may have.
@Suite struct AccessTests {
  private static let alice = "token-of-alice-0001"
  private static let bob = "token-of-bob-000001"

  private let folder: TemporaryDirectory
  private let access: AccessControl

  init() throws {
    folder = try TemporaryDirectory()
    access = AccessControl(try Self.file(folder, ""))
  }

  private static func file(_ folder: TemporaryDirectory, _ aliceLimits: String) throws -> TokenFile
  {
    try TokenFile(folder.write("tokens", "alice \(alice) \(aliceLimits)\nbob \(bob)\n"))
  }

  private func limitAlice(_ limits: String) throws {
    access.replace(try Self.file(folder, limits))
  }

  private static let start = Silica_V1_Start.greedy(tokens: 3)

  @Test func `without a good token nothing is begun`() throws {
    let server = try TestServer(access: access)
    for (token, reason) in [
      (nil, "TOKEN_MISSING"), ("", "TOKEN_MISSING"), ("wrong", "TOKEN_UNKNOWN"),
      (Self.alice + "x", "TOKEN_UNKNOWN"), (String(Self.alice.dropLast()), "TOKEN_UNKNOWN"),
    ] {
      let status = try server.generate(Self.start, token: token).status
      #expect(status.code == .unauthenticated)
      #expect(try ErrorDetails(status).reason == reason)
      let session = try SessionClient(server, token: token)
      #expect(try session.close().code == .unauthenticated)
      #expect(
        try server.exchange(Silica_V1_Inference.getModel, .init(), token: token).status.code
          == .unauthenticated)
    }
    #expect(try server.statistics(token: Self.bob).generationsBegun == 0)
    #expect(access.refusalCount == 15)
    #expect(try server.generate(Self.start, token: Self.alice).status == .ok)
  }

  @Test func `the scheme is Bearer, once`() throws {
    let server = try TestServer(access: access)
    func code(_ values: String...) throws -> StatusCode {
      var metadata = Metadata()
      for value in values { try metadata.append("authorization", value) }
      let call = try BlockingCall(
        on: server.channel, path: Silica_V1_Inference.getModel.path, metadata: metadata,
        deadline: testDeadline())
      try call.send(Silica_V1_GetModelRequest().encoded())
      return try call.finish().status.code
    }
    #expect(try code("bearer \(Self.alice)") == .ok)
    #expect(try code("BEARER \(Self.alice)") == .ok)
    #expect(try code(Self.alice) == .unauthenticated)
    #expect(try code("Basic \(Self.alice)") == .unauthenticated)
    #expect(try code("Bearer  \(Self.alice)") == .unauthenticated)
    #expect(try code("Bearer \(Self.alice)", "Bearer \(Self.alice)") == .unauthenticated)
  }

  @Test func `health is open to all, reflection and unknown methods are not`() throws {
    let server = try TestServer(access: access)
    let health = try server.exchange(Grpc_Health_V1_Health.check, .init())
    #expect(health.responses.map(\.status) == [.serving])
    let reflection = Grpc_Reflection_V1_ServerReflection.serverReflectionInfo
    #expect(try server.exchange(reflection, .init()).status.code == .unauthenticated)
    #expect(try server.exchange(reflection, .init(), token: Self.bob).status == .ok)
    let unknown = try BlockingCall(
      on: server.channel, path: "/silica.v1.Inference/Nothing", deadline: testDeadline())
    #expect(try unknown.finish().status.code == .unauthenticated)
  }

  @Test func `a rate is kept for each tenant, and the stream lives on`() throws {
    try limitAlice("per-minute=300 burst=2")
    let server = try TestServer(access: access)
    let (alice, bob) = (
      try SessionClient(server, token: Self.alice), try SessionClient(server, token: Self.bob)
    )
    #expect(try alice.run(1, Self.start).failed == nil)
    #expect(try alice.run(2, Self.start).failed == nil)
    let failed = try #require(try alice.run(3, Self.start).failed)
    #expect(failed.status.message.contains("tenant 'alice' may begin 300 generations a minute"))
    let details = try ErrorDetails(failed)
    #expect(details.code == 8 && details.reason == "TENANT_RATE")
    let delay = try #require(details.retryMilliseconds)
    #expect((0...200).contains(delay))
    // The other way to begin one has the same account.
    let status = try server.generate(Self.start, token: Self.alice).status
    #expect(status.code == .resourceExhausted)
    #expect(try ErrorDetails(status).retryMilliseconds != nil)
    for key in 1...20 as ClosedRange<UInt32> {
      #expect(try bob.run(key, Self.start).failed == nil)
    }
    #expect(
      eventually(seconds: 5) { (try? alice.run(4, Self.start).failed == nil) == true })
    #expect(try alice.close() == .ok)
  }

  @Test func `generations at once are counted until each has ended`() throws {
    try limitAlice("at-once=2")
    let server = try TestServer(access: access)
    let session = try SessionClient(server, token: Self.alice)
    server.gate.hold()
    try session.start(1, Self.start)
    try session.start(2, Self.start)
    let failed = try session.run(3, Self.start).failed
    #expect(try ErrorDetails(failed).reason == "TENANT_BUSY")
    #expect(try server.generate(Self.start, token: Self.alice).status.code == .resourceExhausted)
    try session.cancel(1)
    server.gate.release()
    try session.finish(1, 2)
    // Also what a bad request, a lost stream and a lost call had is free again.
    _ = try session.run(4, .greedy(tokens: 0))
    _ = try session.run(5, .greedy(tokens: 0))
    server.gate.hold()
    let lost = try SessionClient(server, token: Self.alice)
    try lost.start(1, Self.start)
    try lost.start(2, Self.start)
    #expect(eventually { server.engine.load().running + server.engine.load().waiting == 2 })
    try lost.call.cancel()
    server.gate.release()
    #expect(eventually { (try? session.run(6, Self.start).failed == nil) == true })
  }

  @Test func `one at a time is enough for a client that waits for each`() throws {
    try limitAlice("at-once=1")
    let server = try TestServer(access: access)
    let session = try SessionClient(server, token: Self.alice)
    for key in 1...20 as ClosedRange<UInt32> {
      #expect(try server.generate(Self.start, token: Self.alice).status == .ok)
      #expect(try session.run(key, Self.start).failed == nil)
    }
  }

  @Test func `tokens are rotated while streams run`() throws {
    try limitAlice("per-minute=60 burst=3")
    let server = try TestServer(access: access)
    let session = try SessionClient(server, token: Self.alice)
    server.gate.hold()
    try session.start(1, Self.start)
    #expect(try session.run(9, .greedy(tokens: 0)).failed != nil)
    let new = "token-of-alice-0002"
    access.replace(
      try TokenFile(folder.write("tokens", "alice \(new) per-minute=60 burst=3\nbob \(Self.bob)")))
    let failed = try #require(try session.run(2, Self.start).failed)
    #expect(try ErrorDetails(failed).reason == "TOKEN_WITHDRAWN")
    server.gate.release()
    #expect(try session.finish(1).finished != nil)
    #expect(try server.generate(Self.start, token: Self.alice).status.code == .unauthenticated)
    // The account is the tenant's: two of three are used.
    #expect(try server.generate(Self.start, token: new).status == .ok)
    #expect(try server.generate(Self.start, token: new).status.code == .resourceExhausted)
  }

  @Test func `only its tenant resumes a generation`() throws {
    let server = try TestServer(access: access)
    server.gate.slowDown(microseconds: 1_000)
    let first = try SessionClient(server, token: Self.alice)
    try first.start(1, .greedy(tokens: 60) { $0.limits.resumeMs = 60_000 })
    #expect(try first.read { $0.transcript(1).tokens.count > 5 })
    try first.call.cancel()
    let thief = try SessionClient(server, token: Self.bob)
    try thief.resume(1, of: first, as: 7)
    #expect(try thief.read { !$0.streamFailures.isEmpty || $0.transcript(7).failed != nil })
    let failed = thief.streamFailures.first ?? thief.transcript(7).failed
    #expect(try ErrorDetails(failed).code == 5)
    let second = try SessionClient(server, token: Self.alice)
    try second.resume(1, of: first, as: 7)
    #expect(try second.finish(7).finished?.usage.generatedTokens == 60)
  }
}
