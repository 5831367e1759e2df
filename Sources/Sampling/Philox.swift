// SPDX-License-Identifier: Apache-2.0

/// Philox4x32-10, a counter-based random number generator: the numbers are a pure function of key
/// and counter, with no state between draws (Salmon et al., "Parallel random numbers: as easy as
/// 1, 2, 3", SC'11).
package enum Philox {
  /// Four independent 32-bit numbers.
  package static func random(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var counter = counter
    var key = key
    for round in 0..<10 {
      if round > 0 { key &+= SIMD2(0x9E37_79B9, 0xBB67_AE85) }
      let left = UInt64(counter[0]) * 0xD251_1F53
      let right = UInt64(counter[2]) * 0xCD9E_8D57
      counter = SIMD4(
        UInt32(right >> 32) ^ counter[1] ^ key[0], UInt32(truncatingIfNeeded: right),
        UInt32(left >> 32) ^ counter[3] ^ key[1], UInt32(truncatingIfNeeded: left))
    }
    return counter
  }

  /// 64 random bits for one token of one choice: the same whatever was drawn before and whatever
  /// else runs.
  package static func bits(seed: UInt64, choice: UInt32, position: Int) -> UInt64 {
    let words = random(
      counter: SIMD4(low(UInt64(position)), high(UInt64(position)), choice, 0),
      key: SIMD2(low(seed), high(seed)))
    return UInt64(words[0]) | UInt64(words[1]) << 32
  }

  private static func low(_ value: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: value) }
  private static func high(_ value: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: value >> 32) }
}
