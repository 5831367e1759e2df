// SPDX-License-Identifier: Apache-2.0

/// A digest of bytes that tells contents apart, not one that withstands an attacker: XXH64 with
/// seed 0 (Y. Collet, xxHash specification 0.1.1), which runs as fast as memory.
package enum ContentDigest {
  private static let primes: (UInt64, UInt64, UInt64, UInt64, UInt64) = (
    0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5
  )

  /// The digest of some bytes.
  package static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    let (p1, p2, p3, p4, p5) = primes
    var offset = 0
    var digest = p5
    if bytes.count >= 32 {
      var (a, b, c, d) = (p1 &+ p2, p2, UInt64(0), 0 &- p1)
      while offset + 32 <= bytes.count {
        a = round(a, word(bytes, offset))
        b = round(b, word(bytes, offset + 8))
        c = round(c, word(bytes, offset + 16))
        d = round(d, word(bytes, offset + 24))
        offset += 32
      }
      digest = rotated(a, 1) &+ rotated(b, 7) &+ rotated(c, 12) &+ rotated(d, 18)
      for lane in [a, b, c, d] { digest = (digest ^ round(0, lane)) &* p1 &+ p4 }
    }
    digest &+= UInt64(bytes.count)
    while offset + 8 <= bytes.count {
      digest = rotated(digest ^ round(0, word(bytes, offset)), 27) &* p1 &+ p4
      offset += 8
    }
    if offset + 4 <= bytes.count {
      let half = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      digest = rotated(digest ^ (UInt64(half) &* p1), 23) &* p2 &+ p3
      offset += 4
    }
    while offset < bytes.count {
      digest = rotated(digest ^ (UInt64(bytes[offset]) &* p5), 11) &* p1
      offset += 1
    }
    digest = (digest ^ (digest >> 33)) &* p2
    digest = (digest ^ (digest >> 29)) &* p3
    return digest ^ (digest >> 32)
  }

  /// 16 hexadecimal digits.
  package static func text(_ digest: UInt64) -> String {
    let digits = String(digest, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  @inline(__always)
  private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  @inline(__always)
  private static func round(_ lane: UInt64, _ word: UInt64) -> UInt64 {
    rotated(lane &+ word &* primes.1, 31) &* primes.0
  }

  @inline(__always)
  private static func rotated(_ value: UInt64, _ count: UInt64) -> UInt64 {
    value << count | value >> (64 - count)
  }
}
