// SPDX-License-Identifier: Apache-2.0

import Secrets
import Testing

@Suite struct SecretDigestTests {
  /// Of "abc", from FIPS 180-4's examples.
  private static let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

  @Test func `digests are those of SHA-256`() throws {
    let digest = try #require(SecretDigest(hexadecimal: Self.abc))
    #expect(digest.matches(SecretDigest(of: "abc".utf8)))
    #expect(try #require(SecretDigest(hexadecimal: Self.abc.uppercased())).matches(digest))
    #expect(!digest.matches(SecretDigest(of: "abd".utf8)))
    #expect(!digest.matches(SecretDigest(of: [])))
  }

  @Test func `what is no digest is not read as one`() {
    #expect(SecretDigest(hexadecimal: "") == nil)
    #expect(SecretDigest(hexadecimal: Self.abc.dropLast()) == nil)
    #expect(SecretDigest(hexadecimal: Self.abc + "0") == nil)
    #expect(SecretDigest(hexadecimal: Self.abc.dropLast() + "g") == nil)
  }
}
