// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL

/// The SHA-256 of a secret. What is compared is digests, in a time that does not depend on them.
package struct SecretDigest: Hashable, Sendable {
  package static let byteCount = 32
  let bytes: [UInt8]

  package init(of secret: some Collection<UInt8>) {
    let secret = Array(secret)
    var bytes = [UInt8](repeating: 0, count: Self.byteCount)
    SHA256(secret, secret.count, &bytes)
    self.bytes = bytes
  }

  /// Reads 64 hexadecimal digits; nil if they are something else.
  package init?(hexadecimal text: some StringProtocol) {
    let digits = text.utf8.map { digit -> UInt8? in
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
      default: nil
      }
    }
    let values = digits.compactMap(\.self)
    guard digits.count == 2 * Self.byteCount, values.count == digits.count else { return nil }
    bytes = stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] }
  }
}
