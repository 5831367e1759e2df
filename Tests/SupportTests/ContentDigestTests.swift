// SPDX-License-Identifier: Apache-2.0

import Support
import Testing

@Suite struct ContentDigestTests {
  /// What the reference implementation of XXH64 gives with seed 0.
  @Test(
    arguments: [
      ("", 0xEF46_DB37_51D8_E999), ("a", 0xD24E_C4F1_A98C_6E5B), ("abc", 0x44BC_2CF5_AD77_0999),
      ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
    ] as [(String, UInt64)])
  func `digests are those of XXH64`(text: String, expected: UInt64) {
    let digest = Array(text.utf8).withUnsafeBytes { ContentDigest.of($0) }
    #expect(digest == expected)
  }

  @Test func `a digest is 16 digits`() {
    #expect(ContentDigest.text(0) == "0000000000000000")
    #expect(ContentDigest.text(0x0123_4567_89AB_CDEF) == "0123456789abcdef")
  }
}
