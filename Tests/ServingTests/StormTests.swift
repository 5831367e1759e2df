// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Serving
import Support
import TestSupport
import Testing
import Wire

/// Random frames on several streams at once.
@Suite struct StormTests {
  /// What a stream was sent and what came back.
  private struct Count {
    var starts = 0
    /// Ends of generations, and refusals of their starts.
    var ends = 0
    /// Numbers whose generation was accepted and has not ended.
    var running: Set<UInt32> = []
    /// The frames so far of each that has not ended.
    var frames: [UInt32: UInt64] = [:]

    mutating func end(_ key: UInt32) {
      ends += 1
      running.remove(key)
      frames[key] = nil
    }
  }

  @Test func `every start is answered by one end, whatever else happens`() throws {
    let server = try TestServer()
    let threads = (0..<4).map { seed in
      PinnedThread(name: "storm") {
        do {
          try Self.storm(server, seed: UInt64(seed), isCutOff: seed == 3)
        } catch {
          Issue.record("\(error)")
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(eventually { server.isQuiet })
    #expect(try server.generate(.greedy(tokens: 3)).status == .ok)
  }

  private static func storm(_ server: TestServer, seed: UInt64, isCutOff: Bool) throws {
    var random = SeededGenerator(seed: seed)
    let call = try BlockingCall(
      on: server.channel, path: Silica_V1_Inference.session.path, deadline: testDeadline())
    var count = Count()
    for _ in 0..<300 {
      let frame = randomFrame(&random)
      if case .start? = frame.frame { count.starts += 1 }
      try call.send(frame.encoded())
      if Int.random(in: 0..<3, using: &random) == 0, !count.running.isEmpty {
        try receive(from: call, &count)
      }
    }
    if isCutOff {
      try call.cancel()
      #expect(try call.finish().status.code == .cancelled)
      return
    }
    try call.sendEnd()
    while try receive(from: call, &count) {}
    #expect(try call.finish().status == .ok)
    #expect(count.ends == count.starts)
    #expect(count.running.isEmpty)
  }

  private static func randomFrame(_ random: inout SeededGenerator) -> Silica_V1_ClientFrame {
    var frame = Silica_V1_ClientFrame()
    frame.generation = .random(in: 1...5, using: &random)
    switch Int.random(in: 0..<10, using: &random) {
    case 0..<5:
      let words = Int.random(in: 1..<300, using: &random)
      let prompt = String(repeating: "tick tock ", count: words)
      frame.start = .greedy(prompt, tokens: Int.random(in: 0..<12, using: &random))
    case 5..<9: frame.cancel = Silica_V1_Cancel()
    default: frame.ping = Silica_V1_Ping()
    }
    return frame
  }

  /// Takes one frame; false at the end of the stream.
  @discardableResult
  private static func receive(from call: BlockingCall, _ count: inout Count) throws -> Bool {
    guard let bytes = try call.receive() else { return false }
    let frame = try Silica_V1_ServerFrame(decoding: bytes)
    let key = frame.generation
    count.frames[key, default: 0] += 1
    #expect(frame.sequence == count.frames[key])
    switch frame.frame {
    case .accepted: #expect(count.running.insert(key).inserted)
    case .progress, .delta: #expect(count.running.contains(key))
    case .finished: count.end(key)
    case .failed(let failed):
      switch try ErrorDetails(failed).reason {
      case "GENERATION_IN_USE": count.ends += 1
      case "UNKNOWN_GENERATION": count.frames[key] = nil
      default: count.end(key)
      }
    case .pong, .load: break
    case .goAway, nil: Issue.record("\(frame)")
    }
    return true
  }
}
