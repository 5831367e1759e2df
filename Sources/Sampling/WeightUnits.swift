// SPDX-License-Identifier: Apache-2.0

/// Weights from 0 to 1 as whole numbers of 2^-40, to nearest even: their sums are the same in any
/// order. 2^23 tokens fit. What is at most 2^-41 is nothing.
enum WeightUnits {
  static let perOne: Float = 0x1p40

  static func units(_ weight: Float) -> UInt64 {
    // Adding 2^52 rounds to a whole number, which stands in the low bits of the sum.
    (Double(weight * perOne) + 0x1p52).bitPattern & (1 << 52 - 1)
  }

  /// The sum of `exp(logits - peak)`.
  static func total(_ logits: UnsafeBufferPointer<Float>, peak: Float) -> UInt64 {
    var total: UInt64 = 0
    let blockLength = SamplingWorkspace.blockLength
    for start in stride(from: 0, to: logits.count, by: blockLength) {
      let end = min(start + blockLength, logits.count)
      var sum = Sum()
      for index in stride(from: start, to: end, by: Exponential.Lanes.scalarCount) {
        sum.add(Exponential.exp(Exponential.load(logits, index, end) - peak))
      }
      total += sum.total
    }
    return total
  }

  /// The sum of the weights in some lanes, up to 2^10 in each.
  struct Sum {
    /// `high * 2^20 + low`, with `magicBits` in both for each addition.
    private var high = SIMD16<Int32>.zero
    private var low = SIMD16<Int32>.zero
    private var additions: Int32 = 0

    /// All steps but the last are exact.
    @inline(__always)
    mutating func add(_ weights: Exponential.Lanes) {
      let magic = Exponential.magic
      let scaled = weights * 0x1p20
      let shifted = scaled + magic
      let rest = (scaled - (shifted - magic)) * 0x1p20 + magic
      high &+= unsafeBitCast(shifted, to: SIMD16<Int32>.self)
      low &+= unsafeBitCast(rest, to: SIMD16<Int32>.self)
      additions += 1
    }

    var total: UInt64 {
      let high = high &- Exponential.magicBits &* additions
      let low = low &- Exponential.magicBits &* additions
      var sum: Int64 = 0
      for lane in 0..<16 { sum += Int64(high[lane]) << 20 + Int64(low[lane]) }
      return UInt64(sum)
    }
  }
}
