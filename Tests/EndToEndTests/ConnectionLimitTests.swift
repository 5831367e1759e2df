// SPDX-License-Identifier: Apache-2.0

import Foundation
import Messages
import TestSupport
import Testing

extension EndToEnd {
  /// More connections than a server takes, and messages larger than it takes.
  @Suite struct ConnectionLimitTests {
    private func lines(_ scenario: String, _ server: RunningServer, _ numbers: String...) throws
      -> [Substring]
    {
      let result = try PythonProcess.run(
        [Repository.path("Tests/Python/connections.py"), scenario, server.target] + numbers)
      #expect(result.status == 0, "\(result.errors)")
      return result.output.split(separator: "\n")
    }

    @Test func `connections over the limit are refused until others have closed`() throws {
      try RunningServer.with(model: TestModel.tiny, ["--max-connections", "10"]) { server in
        let answers = try lines("limit", server, "10", "30")
        #expect(answers == ["{'SERVING': 10, 'UNAVAILABLE': 20}", "{'SERVING': 10}"])
        #expect(server.waitForErrors("connections over the limit"))
      }
    }

    @Test func `more connections than descriptors leave the server serving`() throws {
      try RunningServer.with(model: TestModel.tiny, descriptorLimit: 64) { server in
        #expect(server.errors.contains("the limit of open files (ulimit -Hn) is 64"))
        let answers = try lines("flood", server, "200")
        #expect(answers == ["SERVING", "True", "True", "True"])
      }
    }

    @Test func `a server without a descriptor left goes on listening`() throws {
      try RunningServer.with(model: TestModel.tiny) { server in
        // So few that the limit for connections, which was found at the start, does not help.
        let inUse = try server.footprint().openFiles
        try server.limitDescriptors(to: inUse + 8)
        let answers = try lines("flood", server, "100")
        #expect(answers == ["SERVING", "True", "True", "True"])
        #expect(server.waitForErrors("connections for want of file descriptors"))
      }
    }

    @Test func `limits of the transport are options`() throws {
      let options = ["--max-message-size", "64K", "--max-calls", "2"]
      try RunningServer.with(model: TestModel.tiny, options) { server in
        let long = String(repeating: "word ", count: 20_000)
        let tooLong = try SilicaCommand.run(
          "generate", "--target", server.target, "--prompt", long)
        #expect(tooLong.status == 1 && tooLong.errors.contains("resourceExhausted"))
        let client = InferenceClient(server)
        let watches = try (0..<2).map { _ in try client.watchHealth() }
        for watch in watches { #expect(try watch.next() == .serving) }
        let third = try withExtendedLifetime(watches) {
          try SilicaCommand.run("generate", "--target", server.target, "--prompt", "Hi")
        }
        #expect(third.status == 1 && third.errors.contains("the server has 2 calls open"))
      }
      let wrong = try SilicaCommand.run(
        "serve", "--model", TestModel.tiny, "--max-message-size", "8T")
      #expect(wrong.status == 2 && wrong.errors.contains("--max-message-size is"))
    }
  }
}
