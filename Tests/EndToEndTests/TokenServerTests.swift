// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
  /// `silica serve --tokens`, and clients that show one.
  @Suite struct TokenServerTests {
    private static let alice = "token-of-alice-0001"
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws -> String {
      let path = folder.path(name)
      try Data(text.utf8).write(to: URL(filePath: path))
      chmod(path, mode)
      return path
    }

    private func generate(
      _ server: RunningServer, _ options: [String] = [], environment: [String: String] = [:]
    ) throws -> Command.Result {
      try Command.run(
        try SilicaCommand.path(),
        ["generate", "--target", server.target, "--prompt", "Once", "--max-tokens", "3"] + options,
        environment: environment)
    }

    @Test func `generate shows a token of a file or of the environment`() throws {
      let tokens = try write("tokens", "alice \(Self.alice)\n")
      try RunningServer.with(model: TestModel.tiny, ["--tokens", tokens]) { server in
        #expect(server.errors.contains("clients need one of the 1 tokens of \(tokens)"))
        #expect(!server.errors.contains("warning"))
        let file = try write("mine", "\(Self.alice)\n")
        let good = try generate(server, ["--token-file", file])
        #expect(good.status == 0, "\(good.errors)")
        #expect(try generate(server, environment: ["SILICA_TOKEN": Self.alice]).status == 0)
        let none = try generate(server)
        #expect(none.status == 1 && none.errors.contains("unauthenticated"))
        let wrong = try generate(server, environment: ["SILICA_TOKEN": "something-else"])
        #expect(wrong.status == 1 && wrong.errors.contains("the token is not known here"))
        let empty = try generate(server, ["--token-file", try write("empty", "\n")])
        #expect(empty.status == 1 && empty.errors.contains("is empty"))
        #expect(!server.errors.contains(Self.alice) && !server.errors.contains("something-else"))
      }
    }

    @Test func `the file is reloaded, and kept as it was when it is bad`() throws {
      let tokens = try write("tokens", "alice \(Self.alice)\n", mode: 0o644)
      try RunningServer.with(model: TestModel.tiny, ["--tokens", tokens]) { server in
        #expect(server.errors.contains("tokens may be read by every user"))
        _ = try write("tokens", "alice \(Self.alice)\nbob short\n")
        #expect(server.waitForErrors("not taken: \(tokens):2: the token is too short"))
        #expect(try generate(server, environment: ["SILICA_TOKEN": Self.alice]).status == 0)
        _ = try write("tokens", "bob token-of-bob-000001\n# and\nalice token-of-alice-0002\n")
        #expect(server.waitForErrors("one of the 2 tokens"))
        #expect(try generate(server, environment: ["SILICA_TOKEN": Self.alice]).status == 1)
        for token in ["token-of-bob-000001", "token-of-alice-0002"] {
          #expect(try generate(server, environment: ["SILICA_TOKEN": token]).status == 0)
        }
      }
    }

    @Test func `tokens without TLS for other machines are warned of, and bad files named`() throws {
      let tokens = try write("tokens", "alice \(Self.alice)\n")
      let options = ["--tokens", tokens, "--listen", "0.0.0.0:0"]
      try RunningServer.with(model: TestModel.tiny, options) { server in
        #expect(server.errors.contains("warning: tokens come to 0.0.0.0:0 unprotected"))
      }
      let bad = try SilicaCommand.run(
        "serve", "--model", TestModel.tiny, "--tokens", try write("bad", "alice\n"))
      #expect(bad.status == 1)
      #expect(bad.errorLines.count == 1 && bad.errors.contains("bad:1: tenant 'alice' has no"))
    }

    @Test func `a Python client shows its token over TLS`() throws {
      let certificates = try TestCertificates()
      try certificates.make("server")
      let tokens = try write(
        "tokens", "alice \(Self.alice) per-minute=60 burst=2\nbob bob-has-another-one\n")
      let options = [
        "--tokens", tokens, "--tls-certificate", certificates.pem("server"), "--tls-key",
        certificates.key("server"),
      ]
      try RunningServer.with(model: TestModel.tiny, options) { server in
        try Script.expectSuccess(
          "token_checks.py", server.target, certificates.pem("ca"), Self.alice)
        let mine = try write("mine", "bob-has-another-one\n")
        let example = try PythonProcess.run([
          Repository.path("Examples/python/client.py"), "--ca", certificates.pem("ca"),
          "--token-file", mine, server.target, "Hello",
        ])
        #expect(example.status == 0, "\(example.errors)")
      }
    }
  }
}
