// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  /// Many clients, rude clients, and clients that go away.
  @Suite(.serialized, .servesTinyModel) struct LoadTests {
    @Test func `200 streams at once finish`() throws {
      try Script.expectSuccess("load.py", try TinyServer.address(), "streams", "200")
    }

    @Test func `10,000 calls leave descriptors and memory as they were`() throws {
      let server = try TinyServer.server()
      try Script.expectSuccess("load.py", server.target, "calls", "2500")
      let before = try server.settledFootprint()
      try Script.expectSuccess("load.py", server.target, "calls", "10000")
      let after = try server.settledFootprint(openFiles: before.openFiles)
      #expect(after.openFiles <= before.openFiles, "\(before); \(after)")
      // A tenth of the calls is of each kind: 1 KiB lost with each call of one kind would show.
      #expect(after.residentKiB - before.residentKiB < 1_024, "\(before); \(after)")
    }

    @Test func `clients that are killed leave no work and no cache behind`() throws {
      // One sequence of full length fits, and no more.
      let options = ["--kv-memory", "3M", "--precision", "f32"]
      try RunningServer.with(model: TestModel.tiny, options) { server in
        for _ in 0..<3 {
          let client = try PythonProcess(
            script: Repository.path("Tests/Python/load.py"),
            arguments: [server.target, "hold", "64"])
          #expect(try client.readLine() == "holding")
          client.kill()
          usleep(300_000)
          let before = try server.cpuSeconds()
          usleep(300_000)
          #expect(try server.cpuSeconds() - before < 0.1, "it goes on for nobody")
        }
        try Script.expectSuccess("load.py", server.target, "fill", "96", "4000")
      }
    }
  }
}

extension RunningServer {
  /// The footprint once at most `openFiles` are open, or after 5 s: sockets close a moment after
  /// their clients have gone.
  fileprivate func settledFootprint(openFiles: Int? = nil) throws -> Footprint {
    for _ in 0..<50 {
      usleep(100_000)
      let now = try footprint()
      if now.openFiles <= openFiles ?? 0 { return now }
      if openFiles == nil, try isQuiet(at: now.openFiles) { return now }
    }
    return try footprint()
  }

  /// Whether the number of open files stays for a moment.
  private func isQuiet(at count: Int) throws -> Bool {
    usleep(300_000)
    return try footprint().openFiles == count
  }
}
