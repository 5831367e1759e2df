// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Serving
import Support
import Synchronization
import Testing
import Wire

/// What health says while the device is held, slow or broken, and while the server drains.
@Suite struct HealthTests {
  private typealias Status = Grpc_Health_V1_HealthCheckResponse.ServingStatus

  private static let services = [
    "", "silica.v1.Inference", "liveness", "readiness", "progress",
  ]

  /// A server whose health is looked at twice a second, as the command does it.
  private func withServer(
    stepSeconds: Double, prefillChunk: Int = 256, _ body: (TestServer) throws -> Void
  ) throws {
    var limits = ServingLimits()
    limits.stepTimeMax = UInt64(stepSeconds * 1e9)
    let server = try TestServer(limits: limits) { $0.rowCountMax = prefillChunk }
    let isDone = Flag()
    let ticker = PinnedThread(name: "ticker") {
      while !isDone.isSet {
        server.server.refreshHealth()
        _ = eventually(seconds: 0.5) { isDone.isSet }
      }
    }
    defer {
      isDone.set()
      ticker.join()
    }
    try body(server)
  }

  private func check(_ server: TestServer, _ service: String) throws -> Status? {
    try server.exchange(Grpc_Health_V1_Health.check, .with { $0.service = service })
      .responses.first?.status
  }

  /// The services that are SERVING.
  private func serving(_ server: TestServer) throws -> [String] {
    try Self.services.filter { try check(server, $0) == .serving }
  }

  @Test func `a device that hangs turns health bad, and its return turns it good again`() throws {
    try withServer(stepSeconds: 1) { server in
      let watches = try Self.services.map { try HealthWatch(server, $0) }
      for watch in watches { #expect(try watch.next() == .serving) }
      #expect(try serving(server) == Self.services)
      let session = try SessionClient(server)
      server.gate.hold()
      let start = Clock.nowNanoseconds
      try session.start(1, .greedy(tokens: 3))
      for watch in watches { #expect(try watch.next() == .notServing) }
      let age = Double(Clock.nowNanoseconds - start) / 1e9
      #expect(age >= 1 && age < 3, "watchers heard after \(age) s")
      #expect(try serving(server) == [])
      server.gate.release()
      let released = Clock.nowNanoseconds
      for watch in watches { #expect(try watch.next() == .serving) }
      #expect(Clock.nowNanoseconds - released < 2_000_000_000)
      #expect(try serving(server) == Self.services)
      #expect(try session.finish(1).tokens.count == 3)
    }
  }

  @Test func `Check says that a device hangs even if nobody looks at it in between`() throws {
    var limits = ServingLimits()
    limits.stepTimeMax = 300_000_000
    let server = try TestServer(limits: limits)
    server.gate.hold()
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 3))
    #expect(eventually(seconds: 5) { (try? check(server, "liveness")) == .notServing })
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 3)
    #expect(try check(server, "liveness") == .serving)
  }

  @Test func `a long prompt, computed in chunks, leaves health good`() throws {
    try withServer(stepSeconds: 1, prefillChunk: 16) { server in
      server.gate.slowDown(microseconds: 250_000)
      let watch = try HealthWatch(server, "progress")
      #expect(try watch.next() == .serving)
      let session = try SessionClient(server)
      let start = Clock.nowNanoseconds
      try session.start(1, .greedy(String(repeating: "tick tock ", count: 60), tokens: 1))
      #expect(eventually { server.engine.load().running == 1 })
      while server.engine.load().running == 1 { #expect(try serving(server) == Self.services) }
      #expect(Clock.nowNanoseconds - start > 2_500_000_000, "long enough to mean something")
      #expect(try session.finish(1).tokens.count == 1)
      server.server.stop(grace: .zero)
      #expect(try watch.next() == nil, "it has heard of nothing, since progress is well")
    }
  }

  @Test func `a server that drains takes no work, and lives`() throws {
    let server = try TestServer()
    let watches = try Self.services.map { try HealthWatch(server, $0) }
    for watch in watches { #expect(try watch.next() == .serving) }
    server.gate.hold()
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 3))
    try session.read { $0.transcript(1).accepted != nil }
    let stopper = PinnedThread(name: "stopper") { server.server.stop(grace: .seconds(20)) }
    for (service, watch) in zip(Self.services, watches)
    where !["liveness", "progress"].contains(service) {
      #expect(try watch.next() == .notServing, "\(service)")
    }
    #expect(try serving(server) == ["liveness", "progress"])
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 3)
    #expect(try session.close() == .ok)
    for watch in watches { #expect(try watch.next() == nil) }
    stopper.join()
  }

  @Test func `an engine that has failed is neither live nor ready`() throws {
    let server = try TestServer()
    server.gate.isBroken.store(true, ordering: .relaxed)
    #expect(try server.generate(.greedy(tokens: 3)).status.code == .unavailable)
    #expect(try serving(server) == ["progress"])
  }
}

/// Set once.
private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}

/// One `Watch` call. It ends when the last reference goes.
final class HealthWatch {
  let call: BlockingCall
  private let server: TestServer

  init(_ server: TestServer, _ service: String) throws {
    self.server = server
    call = try BlockingCall(
      on: server.channel, path: Grpc_Health_V1_Health.watch.path, deadline: testDeadline())
    try call.send(Grpc_Health_V1_HealthCheckRequest.with { $0.service = service }.encoded())
  }

  deinit { try? call.cancel() }

  /// The first status, or the next change; nil when the server says no more.
  func next() throws -> Grpc_Health_V1_HealthCheckResponse.ServingStatus? {
    try call.receive().map { try Grpc_Health_V1_HealthCheckResponse(decoding: $0).status }
  }
}
