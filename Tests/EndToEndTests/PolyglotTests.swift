// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  /// Clients on other people's gRPC. One after the other: some of them fill the server's queue.
  @Suite(.serialized, .servesTinyModel) struct PythonClientTests {
    @Test(arguments: ["session_checks.py", "error_checks.py", "standard_checks.py"])
    func `a Python client's checks pass`(script: String) throws {
      try Script.expectSuccess(script, try TinyServer.address())
    }

    @Test func `the Python example runs generations, and cancels one`() throws {
      let result = try PythonProcess.run([
        Repository.path("Examples/python/client.py"), "--max-tokens", "2000", "--cancel", "2",
        try TinyServer.address(), "Hello there", "Name three rivers", "and more",
      ])
      #expect(result.status == 0, "\(result.errors)")
      let ends = result.output.split(separator: "\n").filter { $0.contains("FINISH_REASON") }
        .sorted()
      #expect(ends.count == 3)
      #expect(ends.map { $0.contains("CANCELLED") } == [false, true, false], "\(ends)")
      let texts = result.output.split(separator: "\n").filter { !$0.contains("FINISH_REASON") }
      #expect(Set(texts.map { $0.prefix(3) }) == ["[1]", "[2]", "[3]"])
    }

    @Test func `the Python example says what was refused`() throws {
      let result = try PythonProcess.run([
        Repository.path("Examples/python/client.py"), "--temperature=-3", try TinyServer.address(),
        "Hello",
      ])
      #expect(result.status == 1)
      #expect(result.output.contains("[1] failed: start.sampling.temperature is -3"))
    }

    @Test func `generate streams from a server what it gives in its own process`() throws {
      let options = ["--prompt", "Once upon a time", "--max-tokens", "12", "--temperature", "0"]
      let remote = try SilicaCommand.run(
        ["generate", "--target", try TinyServer.address(), "--usage"] + options)
      #expect(remote.status == 0, "\(remote.errors)")
      #expect(remote.errors.contains("prompt tokens"))
      let own = try SilicaCommand.run(["generate", "--model", TestModel.tiny] + options)
      #expect(own.status == 0, "\(own.errors)")
      #expect(own.output == remote.output && own.output.count > 12)
    }
  }

  @Suite(.servesTinyModel) struct CppClientTests {
    @Test func `the C++ example is built from its Makefile and runs generations`() throws {
      let folder = try TemporaryDirectory()
      let make = try Command.run(
        "/usr/bin/make", ["-C", Repository.path("Examples/cpp"), "OUT=\(folder.path)"])
      try #require(make.status == 0, "\(make.errors)")
      let client = folder.path("client")
      let result = try Command.run(
        client, [try TinyServer.address(), "Hello there", "Count to ten"])
      #expect(result.status == 0, "\(result.errors)")
      for generation in 1...2 {
        let lines = result.output.split(separator: "\n").filter { $0.hasPrefix("[\(generation)] ") }
        #expect(lines.count > 1)
        #expect(lines.last?.contains("FINISH_REASON_") == true, "\(result.output)")
      }
      let nobody = try Command.run(client, ["127.0.0.1:1", "Hello"])
      #expect(nobody.status == 1)
      #expect(!nobody.errors.isEmpty)
    }
  }
}
