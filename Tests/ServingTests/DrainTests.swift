// SPDX-License-Identifier: Apache-2.0

import Engine
import Foundation
import Messages
import RPC
import Serving
import Support
import Synchronization
import Testing
import Wire

/// How a server stops, and what it says when its engine breaks.
@Suite struct DrainTests {
  @Test func `a server that stops lets generations finish and takes no new ones`() throws {
    let server = try TestServer()
    let alone = try server.generate(.greedy(tokens: 80)).transcript
    server.gate.slowDown(microseconds: 2_000)
    let session = try SessionClient(server)
    let idle = try SessionClient(server)
    try session.start(1, .greedy(tokens: 80))
    try session.read { !$0.transcript(1).tokens.isEmpty }
    let stopper = PinnedThread(name: "stopper") { server.server.stop(grace: .milliseconds(20_500)) }
    try session.read { !$0.goAways.isEmpty }
    #expect(session.goAways.first?.graceMs == 20_500)
    try session.start(2, .greedy(tokens: 1))
    let refused = try ErrorDetails(try session.finish(2).failed)
    #expect(refused.code == StatusCode.unavailable.rawValue)
    #expect(refused.reason == "DRAINING")
    #expect(try server.generate(.greedy(tokens: 1)).status.code == .unavailable)
    #expect(try session.finish(1).tokens == alone.tokens)
    #expect(try session.close() == .ok)
    #expect(try idle.close() == .ok)
    #expect(idle.goAways.count == 1)
    stopper.join()
  }

  @Test func `what is left after the grace gets a last frame`() throws {
    let server = try TestServer()
    server.gate.hold()
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 5) { $0.output.n = 2 })
    try session.start(2, .greedy(tokens: 5))
    try session.read { $0.transcript(1).accepted != nil && $0.transcript(2).accepted != nil }
    let silent = try BlockingCall(
      on: server.channel, path: Silica_V1_Inference.generate.path, deadline: testDeadline())
    let running = try BlockingCall(
      on: server.channel, path: Silica_V1_Inference.generate.path, deadline: testDeadline())
    try running.send(Silica_V1_GenerateRequest.with { $0.start = .greedy(tokens: 5) }.encoded())
    #expect(try running.receive() != nil)
    #expect(eventually { server.server.activeCallCount == 3 })
    let stopper = PinnedThread(name: "stopper") { server.server.stop(grace: .milliseconds(50)) }
    for key in [1, 2] as [UInt32] {
      let error = try ErrorDetails(try session.finish(key).failed)
      #expect(error.code == StatusCode.unavailable.rawValue)
      #expect(error.reason == "SHUT_DOWN")
      #expect(error.retryMilliseconds ?? 0 > 0)
    }
    #expect(try session.close() == .ok)
    #expect(try running.finish().status.code == .unavailable)
    #expect(try silent.finish().status.code == .unavailable)
    stopper.join()
    server.gate.release()
    #expect(eventually { server.engine.load().running == 0 })
  }

  @Test func `calls that open while the server stops are told at once`() throws {
    let server = try TestServer()
    server.gate.hold()
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 5))
    try session.read { $0.transcript(1).accepted != nil }
    let stopper = PinnedThread(name: "stopper") { server.server.stop(grace: .seconds(20)) }
    try session.read { !$0.goAways.isEmpty }
    let late = try SessionClient(server)
    try late.read { !$0.goAways.isEmpty }
    #expect((10_000...20_000).contains(late.goAways.first?.graceMs ?? 0))
    let refused = try ErrorDetails(try late.run(1, .greedy(tokens: 1)).failed)
    #expect(refused.reason == "DRAINING" && refused.retryMilliseconds ?? 0 > 0)
    let status = try server.generate(.greedy(tokens: 1)).status
    #expect(try ErrorDetails(status).reason == "DRAINING")
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 5)
    #expect(try late.close() == .ok)
    #expect(try session.close() == .ok)
    stopper.join()
  }

  @Test func `no stream is cut whose generations move to it while the server ends`() throws {
    for round in 0..<12 {
      let server = try TestServer(pollerCount: 2)
      server.gate.hold()
      let broken = try SessionClient(server)
      for key in 1...32 as ClosedRange<UInt32> {
        try broken.start(key, .greedy(tokens: 500) { $0.limits.resumeMs = 60_000 })
      }
      try broken.read { client in
        (1...32).allSatisfy { client.transcript($0).accepted != nil }
      }
      try broken.call.cancel()
      #expect(eventually { (try? server.statistics().generationsDetached) == 32 })
      // One of them is on the other poller.
      let sessions = try [SessionClient(server), SessionClient(server)]
      for session in sessions {
        try session.ping(1)
        try session.read { !$0.pongs.isEmpty }
      }
      for key in 1...32 as ClosedRange<UInt32> {
        try sessions[Int(key) % 2].resume(key, of: broken, as: key)
      }
      usleep(UInt32(round) * 100)
      server.server.stop(grace: .zero)
      for session in sessions {
        let status = try session.close()
        #expect(status == .ok, "round \(round)")
      }
    }
  }

  @Test func `a stopped server leaves none of its threads`() throws {
    let before = try Self.threads()
    let server = try TestServer()
    #expect(try server.generate(.greedy(tokens: 3)).status == .ok)
    let during = try Self.threads()
    // Some may be those of a test beside this one; they go as well.
    let started = during.keys.filter { before[$0] == nil }
    for name in ["poller-0", "engine", "exec-0", "aux"] {
      #expect(started.contains { during[$0] == name }, "\(name)")
    }
    server.stop()
    #expect(
      eventually(seconds: 60) {
        ((try? Self.threads()) ?? during).allSatisfy { id, name in
          during[id] != name || before[id] != nil || !Self.isOurs(name)
        }
      })
  }

  private static func isOurs(_ name: String) -> Bool {
    ["poller", "engine", "exec", "aux"].contains { name.hasPrefix($0) }
  }

  /// The process's threads by number, with their names.
  private static func threads() throws -> [String: String] {
    var threads: [String: String] = [:]
    for id in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") {
      // One that has ended meanwhile has no name.
      let name = try? String(contentsOfFile: "/proc/self/task/\(id)/comm", encoding: .utf8)
      threads[id] = name?.trimmingCharacters(in: .newlines)
    }
    return threads
  }

  @Test func `a broken device fails all generations, once each, and health says so`() throws {
    let server = try TestServer()
    server.gate.hold()
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 5) { $0.output.n = 3 })
    try session.start(2, .greedy(tokens: 5))
    try session.read { $0.transcript(1).accepted != nil && $0.transcript(2).accepted != nil }
    server.gate.isBroken.store(true, ordering: .relaxed)
    server.gate.release()
    for key in [1, 2] as [UInt32] {
      let error = try ErrorDetails(try session.finish(key).failed)
      #expect(error.code == StatusCode.unavailable.rawValue)
      #expect(error.message.contains("the test broke it"))
    }
    try session.start(1, .greedy(tokens: 5))
    #expect(try session.finish(1).failed?.status.code == StatusCode.unavailable.rawValue)
    #expect(try session.close() == .ok)
    server.server.refreshHealth()
    let health = try server.exchange(Grpc_Health_V1_Health.check, .init())
    #expect(health.responses.first?.status == .notServing)
  }
}
