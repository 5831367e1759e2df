// SPDX-License-Identifier: Apache-2.0

import Foundation
import Messages
import RPC
import TestSupport
import Testing

extension EndToEnd {
  /// SIGTERM: what runs may finish, what does not is told so, and the exit code is 0.
  @Suite struct ShutdownTests {
    private static let prompt: [Int32] = [40, 41, 42, 43]
    /// Nearly the whole context, so that it runs for a while.
    private static let long = Silica_V1_Start.greedy(prompt, count: 4_000)

    @Test func `generations finish within the grace time, and new ones are refused`() throws {
      try RunningServer.with(model: TestModel.tiny) { server in
        let client = InferenceClient(server)
        let health = try client.watchHealth()
        #expect(try health.next() == .serving)
        let session = try client.session()
        for generation in 1...8 as ClosedRange<UInt32> {
          try session.start(generation, Self.long)
        }
        // Frames are read in order: when the last one runs, none is refused for coming too late.
        try session.waitForDelta(of: 8)
        server.terminate()
        #expect(try health.next() == .notServing)
        var generated: [UInt32] = []
        var refusal: String?
        while let frame = try session.receive() {
          switch frame.frame {
          case .goAway(let message):
            #expect(message.graceMs == 30_000)
            try session.start(9, Self.long)
          case .failed(let failed) where frame.generation == 9:
            refusal = failed.status.message
            try session.sendEnd()
          case .finished(let finished):
            #expect(finished.reason == .length)
            generated.append(finished.usage.generatedTokens)
          default: break
          }
        }
        #expect(generated == Array(repeating: 4_000, count: 8))
        #expect(refusal?.contains("shutting down") == true)
        #expect(try session.finish().code == .ok)
        #expect(server.end(within: .seconds(20)) == .exit(0))
      }
    }

    @Test func `what is not finished within the grace time ends with a frame of its own`() throws {
      try RunningServer.with(model: TestModel.tiny, ["--grace", "1"]) { server in
        let client = InferenceClient(server)
        let session = try client.session()
        for generation in 1...48 as ClosedRange<UInt32> {
          try session.start(generation, Self.long)
        }
        try session.waitForDelta(of: 1)
        server.terminate()
        var ends: [UInt32: Int] = [:]
        var failures = 0
        while let frame = try session.receive() {
          switch frame.frame {
          case .finished: ends[frame.generation, default: 0] += 1
          case .failed(let failed):
            ends[frame.generation, default: 0] += 1
            failures += 1
            #expect(failed.status.code == 14, "UNAVAILABLE")
          default: break
          }
        }
        #expect(ends.count == 48 && ends.values.allSatisfy { $0 == 1 }, "\(ends)")
        #expect(failures > 0)
        #expect(try session.finish().code == .ok)
        #expect(server.end(within: .seconds(20)) == .exit(0))
      }
    }

    @Test func `a second signal ends the process`() throws {
      try RunningServer.with(model: TestModel.tiny) { server in
        let client = InferenceClient(server)
        let session = try client.session()
        for generation in 1...48 as ClosedRange<UInt32> {
          try session.start(generation, Self.long)
        }
        while let frame = try session.receive() {
          if case .delta = frame.frame { server.terminate() }
          if case .goAway = frame.frame { break }
        }
        server.terminate()
        #expect(server.end(within: .seconds(5)) == .signal(SIGTERM))
      }
    }

    @Test func `a signal while the model loads ends the process`() throws {
      let copy = try CheckpointCopy()
      try copy.remove("config.json")
      // Opening a pipe waits until somebody writes to it.
      #expect(mkfifo("\(copy.directory)/config.json", 0o600) == 0)
      let server = try RunningServer(model: copy.directory)
      defer { server.stop() }
      #expect(server.end(within: .milliseconds(300)) == nil)
      server.terminate()
      #expect(server.end(within: .seconds(5)) == .signal(SIGTERM))
    }

    @Test func `idle streams hold nothing up`() throws {
      try RunningServer.with(model: TestModel.tiny) { server in
        let client = InferenceClient(server)
        let session = try client.session()
        try session.start(1, .greedy(Self.prompt, count: 2))
        try session.waitForDelta(of: 1)
        let health = try client.watchHealth()
        #expect(try health.next() == .serving)
        server.terminate()
        #expect(server.end(within: .seconds(10)) == .exit(0))
        var isTold = false
        while let frame = try session.receive() {
          if case .goAway = frame.frame { isTold = true }
        }
        #expect(isTold)
        #expect(try session.finish().code == .ok)
      }
    }
  }
}
