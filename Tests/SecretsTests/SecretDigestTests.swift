// SPDX-License-Identifier: Apache-2.0

import Secrets
import Testing

@Suite struct SecretDigestTests {
  /// Of "abc", from FIPS 180-4's examples.
  private static let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

  @Test func `digests are those of SHA-256`() throws {
    let digest = try #require(SecretDigest(hexadecimal: Self.abc))
    #expect(digest == SecretDigest(of: "abc".utf8))
    #expect(digest == SecretDigest(hexadecimal: Self.abc.uppercased()))
    #expect(digest != SecretDigest(of: "abd".utf8))
  }

  @Test func `a list finds each of its digests and no other`() {
    var list = SecretDigestList()
    #expect(list.index(of: SecretDigest(of: [])) == nil)
    let digests = (0..<100).map { SecretDigest(of: [UInt8($0)]) }
    for digest in digests { list.append(digest) }
    for (index, digest) in digests.enumerated() { #expect(list.index(of: digest) == index) }
    #expect(list.index(of: SecretDigest(of: [100])) == nil)
    #expect(list.count == 100)
  }

  @Test func `what is no digest is not read as one`() {
    #expect(SecretDigest(hexadecimal: "") == nil)
    #expect(SecretDigest(hexadecimal: Self.abc.dropLast()) == nil)
    #expect(SecretDigest(hexadecimal: Self.abc + "0") == nil)
    #expect(SecretDigest(hexadecimal: Self.abc.dropLast() + "g") == nil)
  }
}
