// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Support
import TestSupport
import Testing

extension EndToEnd {
  /// SIGTERM with many streams, of many kinds, on many connections.
  @Suite struct DrainTests {
    /// Starts the streams, stops the server, and expects that each ended with a frame of its own.
    private func drain(_ options: [String], streams: Int, tokens: Int, ends: String) throws {
      try RunningServer.with(model: TestModel.tiny, options) { server in
        let client = try PythonProcess(
          script: Repository.path("Tests/Python/drain.py"),
          arguments: [server.target, "\(streams)", "\(tokens)", ends])
        #expect(try client.readLine() == "ready")
        server.terminate()
        let counts = try client.readLine()
        #expect(try client.finish() == 0, "\(counts)")
        #expect(server.end(within: .seconds(10)) == .exit(0))
      }
    }

    @Test func `200 streams finish within the grace time`() throws {
      try drain(["--grace", "60"], streams: 200, tokens: 250, ends: "all")
    }

    @Test func `200 streams end with a frame of their own when the grace time is short`() throws {
      try drain(["--grace", "1"], streams: 200, tokens: 1_500, ends: "some")
    }

    @Test func `200 streams end with a frame of their own when there is no grace`() throws {
      try drain(["--grace", "0"], streams: 200, tokens: 1_500, ends: "now")
    }

    @Test func `for the drain delay only health changes`() throws {
      try RunningServer.with(model: TestModel.tiny, ["--drain-delay", "2"]) { server in
        let client = InferenceClient(server)
        let health = try client.watchHealth()
        #expect(try health.next() == .serving)
        let session = try client.session()
        try session.start(1, .greedy([40, 41], count: 2))
        try session.waitForDelta(of: 1)
        server.terminate()
        let start = Clock.nowNanoseconds
        #expect(try health.next() == .notServing)
        #expect(Clock.nowNanoseconds - start < 500_000_000)
        #expect(try client.greedy([40, 41, 42], count: 20).count == 20)
        try session.start(2, .greedy([40, 41], count: 2))
        var kinds: [String] = []
        while let frame = try session.receive() {
          switch frame.frame {
          case .finished where frame.generation == 2: kinds.append("finished")
          case .failed: kinds.append("failed")
          case .goAway:
            kinds.append("go away")
            #expect(Clock.nowNanoseconds - start > 1_900_000_000)
          default: break
          }
        }
        #expect(kinds == ["finished", "go away"])
        #expect(try session.finish().code == .ok)
        #expect(server.end(within: .seconds(10)) == .exit(0))
      }
    }
  }
}
