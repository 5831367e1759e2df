// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL

/// Digests side by side, searched in a time that depends on how many there are and on nothing else.
package struct SecretDigestList: Sendable {
  private var bytes: [UInt8] = []

  package init() {}

  package var count: Int { bytes.count / SecretDigest.byteCount }

  package mutating func append(_ digest: SecretDigest) { bytes += digest.bytes }

  /// The place of a digest; all are compared, whether or not it has been met.
  package func index(of digest: SecretDigest) -> Int? {
    let size = SecretDigest.byteCount
    var found = -1
    bytes.withUnsafeBytes { bytes in
      for index in 0..<count {
        let isSame = CRYPTO_memcmp(digest.bytes, bytes.baseAddress.map { $0 + index * size }, size)
        // Without a branch: -1 where it is the same, else 0.
        let mask = Int(truncatingIfNeeded: (UInt32(bitPattern: isSame) &- 1) >> 31) * -1
        found = (found & ~mask) | (index & mask)
      }
    }
    return found < 0 ? nil : found
  }
}
