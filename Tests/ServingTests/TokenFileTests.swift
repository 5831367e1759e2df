// SPDX-License-Identifier: Apache-2.0

import Foundation
import Secrets
import Serving
import Support
import TestSupport
import Testing

/// Files of API tokens.
@Suite struct TokenFileTests {
  private let folder: TemporaryDirectory
  private static let digest = String(repeating: "0a", count: 32)

  init() throws { folder = try TemporaryDirectory() }

  private func file(_ text: String) throws -> TokenFile {
    try TokenFile(folder.write("tokens", text))
  }

  @Test func `lines of tenants, tokens, digests and limits are read`() throws {
    let text = """
      # who       token
      alice  sha256:\(Self.digest)  per-minute=60 burst=10 at-once=4
      alice \tanother-token-of-alice

        bob\ttoken-of-bob-1234
      """
    let file = try file(text)
    #expect(file.tokenCount == 3)
    #expect(file.holdsTokens)
    #expect(try !self.file("a sha256:\(Self.digest)\r\n").holdsTokens)
  }

  @Test(arguments: [
    ("", "no token in it"),
    ("# nothing\n", "no token in it"),
    ("alice", ":1: tenant 'alice' has no token"),
    ("\na short", ":2: the token is too short; expected 16 characters"),
    ("a token-with-ümlaut-in-it", ":1: the token has characters that are not ASCII"),
    ("ä token-of-somebody-x", ":1: the tenant's name is not"),
    ("a sha256:00", ":1: what follows 'sha256:' is not 64 hexadecimal digits"),
    ("a token-of-somebody-x\nb token-of-somebody-x", ":2: the token is that of line 1"),
    ("a token-of-somebody-x per-minute=0", ":1: expected per-minute=N"),
    ("a token-of-somebody-x fast", ":1: expected per-minute=N"),
    ("a token-of-somebody-x per-hour=5", ":1: unknown limit"),
    ("a token-of-somebody-x burst=5", ":1: burst needs per-minute"),
    (
      "a token-of-somebody-x at-once=1\na token-of-somebody-y at-once=2", ":2: tenant 'a' has other"
    ),
  ])
  func `a bad line is named, and no token is told`(text: String, expected: String) throws {
    let error = try #require(throws: SecretsError.self) { try file(text) }
    #expect(error.message.contains("tokens\(expected)") || error.message.contains(expected))
    #expect(!error.message.contains("token-of-somebody") && !error.message.contains("short\""))
  }

  @Test func `a token and its digest are the same token`() throws {
    let digest = "67a3fc186e69349ca571eca56032f7822cc7e1bb192d71e56c1a288fe61383f5"
    let error = try #require(throws: SecretsError.self) {
      try file("a token-of-somebody-x\nb sha256:\(digest)")
    }
    #expect(error.message.contains(":2: the token is that of line 1"))
  }

  @Test func `there are not more than so many`() throws {
    let lines = (0...TokenFile.tokenCountMax).map { "tenant token-number-\($0)-of-many" }
    let error = try #require(throws: SecretsError.self) {
      try file(lines.joined(separator: "\n"))
    }
    #expect(error.message.contains(":4097: more than 4096 tokens"))
    #expect(try file(lines.dropLast().joined(separator: "\n")).tokenCount == 4_096)
  }
}

extension TemporaryDirectory {
  /// Writes a file with mode 600 and gives its path.
  func write(_ name: String, _ text: String) throws -> String {
    try Data(text.utf8).write(to: URL(filePath: path(name)))
    chmod(path(name), 0o600)
    return path(name)
  }
}
