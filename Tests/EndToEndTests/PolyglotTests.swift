// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  /// Clients on other people's gRPC. One after the other: some of them fill the server's queue.
  @Suite(.serialized, .servesTinyModel) struct PythonClientTests {
    @Test(
      arguments: [
        "session_checks.py", "error_checks.py", "standard_checks.py", "interop_checks.py",
      ])
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

  /// grpc-go: HTTP/2 and gRPC written anew, without C-core.
  @Suite(.serialized, .servesTinyModel) struct GoClientTests {
    /// Builds a program on the stubs of the Go example.
    private func build(_ source: String, in folder: TemporaryDirectory) throws -> String {
      let make = try Command.run(
        "/usr/bin/make",
        [
          "-C", Repository.path("Examples/go"), "OUT=\(folder.path)",
          "SOURCE=\(Repository.path(source))",
        ])
      try #require(make.status == 0, "\(make.errors)")
      let name = source.split(separator: "/").last?.split(separator: ".").first
      return folder.path(String(try #require(name)))
    }

    @Test func `the Go example is built from its Makefile and runs generations`() throws {
      let folder = try TemporaryDirectory()
      let client = try build("Examples/go/client.go", in: folder)
      let address = try TinyServer.address()
      let session = try Command.run(
        client,
        ["-max-tokens", "2000", "-cancel", "2", address, "Hello there", "Name three", "and more"])
      #expect(session.status == 0, "\(session.errors)")
      let ends = session.output.split(separator: "\n").filter { $0.contains("FINISH_REASON") }
        .sorted()
      #expect(ends.map { $0.contains("CANCELLED") } == [false, true, false], "\(ends)")
      let one = try Command.run(client, ["-once", address, "Hello there"])
      #expect(one.status == 0 && one.output.contains("FINISH_REASON_"), "\(one.errors)")
      let late = try Command.run(
        // Less than a connection takes: a generation may end early by itself.
        client, ["-once", "-deadline", "100us", address, "Hello"])
      // The client says it by itself where the time is over before there is a connection.
      let isLate = late.errors.contains("DeadlineExceeded")
        || late.errors.contains("context deadline exceeded")
      #expect(late.status == 1 && isLate, "\(late.errors)")
      let refused = try Command.run(client, ["-once", "-temperature=-3", address, "Hello"])
      #expect(refused.status == 1)
      #expect(refused.errors.contains("field: start.sampling.temperature"), "\(refused.errors)")
    }

    @Test func `a Go client's checks pass`() throws {
      let folder = try TemporaryDirectory()
      let checks = try build("Tests/Go/checks.go", in: folder)
      let result = try Command.run(checks, [try TinyServer.address()])
      #expect(result.status == 0, "\(result.output)\(result.errors)")
    }
  }
}
