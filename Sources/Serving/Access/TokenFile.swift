// SPDX-License-Identifier: Apache-2.0

package import Secrets
internal import Support

/// A file of API tokens: a line for each, of the tenant's name, the token or `sha256:` and its
/// digest in hexadecimal, and the tenant's limits. `#` begins a comment line.
///
///     alice  sha256:9f86d0…  per-minute=60 burst=10 at-once=4
///     bob    a-token-that-nobody-can-guess
///
/// Errors name the line and never what a token is.
package struct TokenFile: Sendable {
  /// Tokens of one file.
  package static let tokenCountMax = 4_096
  /// Characters of a token; fewer can be guessed.
  package static let tokenLengthMin = 16
  private static let digestPrefix = "sha256:"

  struct Entry {
    let tenant: String
    let digest: SecretDigest
  }

  package let path: String
  let entries: [Entry]
  let limits: [String: TenantLimits]
  package let isReadableByOthers: Bool
  /// Whether a token is written in it itself, and not its digest.
  package let holdsTokens: Bool

  package var tokenCount: Int { entries.count }

  package init(_ path: String) throws(SecretsError) {
    let file = try SecretFile(path)
    self.path = path
    isReadableByOthers = file.isReadableByOthers
    var reader = Reader(path: path)
    let lines = try file.text().split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    for line in lines { try reader.take(line) }
    guard !reader.entries.isEmpty else {
      throw SecretsError(
        .invalidArgument, "\(path): no token in it; expected lines of a tenant and its token")
    }
    entries = reader.entries
    limits = reader.limits
    holdsTokens = reader.holdsTokens
  }

  private struct Reader {
    let path: String
    var entries: [Entry] = []
    var limits: [String: TenantLimits] = [:]
    var holdsTokens = false
    private var lineNumber = 0
    private var lineOfDigest: [SecretDigest: Int] = [:]

    init(path: String) { self.path = path }

    mutating func take(_ line: Substring) throws(SecretsError) {
      lineNumber += 1
      let words = line.split(whereSeparator: \.isWhitespace)
      guard let name = words.first, !name.hasPrefix("#") else { return }
      guard words.count > 1 else { throw wrong("tenant '\(name.prefix(64))' has no token") }
      guard name.utf8.count <= 64, name.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
        throw wrong("the tenant's name is not 1 to 64 characters of ASCII")
      }
      guard entries.count < tokenCountMax else { throw wrong("more than \(tokenCountMax) tokens") }
      let digest = try digest(words[1])
      if let earlier = lineOfDigest.updateValue(lineNumber, forKey: digest) {
        throw wrong("the token is that of line \(earlier)")
      }
      entries.append(Entry(tenant: String(name), digest: digest))
      try takeLimits(words.dropFirst(2), of: String(name))
    }

    private mutating func digest(_ word: Substring) throws(SecretsError) -> SecretDigest {
      if word.hasPrefix(digestPrefix) {
        guard let digest = SecretDigest(hexadecimal: word.dropFirst(digestPrefix.count)) else {
          throw wrong("what follows 'sha256:' is not 64 hexadecimal digits")
        }
        return digest
      }
      guard word.utf8.count >= tokenLengthMin else {
        throw wrong("the token is too short; expected \(tokenLengthMin) characters or more")
      }
      guard word.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
        throw wrong("the token has characters that are not ASCII")
      }
      holdsTokens = true
      return SecretDigest(of: word.utf8)
    }

    private mutating func takeLimits(
      _ words: ArraySlice<Substring>, of tenant: String
    ) throws(SecretsError) {
      guard !words.isEmpty else { return }
      var new = TenantLimits()
      for word in words {
        let parts = word.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let number = Int(parts[1]), (1...1_000_000).contains(number) else {
          throw wrong("expected per-minute=N, burst=N or at-once=N, N from 1 to 1000000")
        }
        switch parts[0] {
        case "per-minute": new.perMinute = number
        case "burst": new.burst = number
        case "at-once": new.atOnce = number
        default: throw wrong("unknown limit; expected per-minute, burst or at-once")
        }
      }
      guard new.burst == nil || new.perMinute != nil else {
        throw wrong("burst needs per-minute")
      }
      guard limits.updateValue(new, forKey: tenant).map({ $0 == new }) != false else {
        throw wrong("tenant '\(tenant)' has other limits in an earlier line")
      }
    }

    private func wrong(_ what: String) -> SecretsError {
      SecretsError(.invalidArgument, "\(path):\(lineNumber): \(what)")
    }
  }
}
