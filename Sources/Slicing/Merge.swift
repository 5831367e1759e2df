// SPDX-License-Identifier: Apache-2.0

internal import Support

/// What one context slice computed of an attention.
package struct PartialAttention {
  /// `[rows, heads * width]`: softmax over the slice's own keys, times their values.
  package var output: UnsafePointer<Float>
  /// `[rows, heads]`: the natural logarithm of that softmax's denominator; `-inf` without keys.
  package var logSumExp: UnsafePointer<Float>

  package init(output: UnsafePointer<Float>, logSumExp: UnsafePointer<Float>) {
    self.output = output
    self.logSumExp = logSumExp
  }
}

/// Joins attention over parts of the keys into attention over all of them, exactly.
///
/// With `m = max_i lse_i` and `w_i = exp(lse_i - m)`: `output = Σ w_i · output_i / Σ w_i`, summed
/// in the order of the slices (flash decoding; Milakov and Gimelshein 2018). A slice without keys
/// has weight 0 and changes nothing; if all are empty the output is 0. If just one has keys, its
/// output passes through bit for bit. `output` may be one of the parts. GPUs do the same operation
/// by operation (`attention_slices.cu`), for the same bits.
package func mergeByLogSumExp(
  _ parts: [PartialAttention], rows: Int, heads: Int, width: Int,
  into output: UnsafeMutablePointer<Float>
) {
  withUnsafeTemporaryAllocation(of: Float.self, capacity: parts.count) { weights in
    for head in 0..<rows * heads {
      weigh(parts, head: head, weights: weights)
      let start = head * width
      for column in start..<start + width {
        var sum: Float = 0
        for (part, weight) in zip(parts, weights) where weight > 0 {
          sum += weight * part.output[column]
        }
        output[column] = sum
      }
    }
  }
}

/// Fills in `w_i / Σ w` for one head of one row.
private func weigh(
  _ parts: [PartialAttention], head: Int, weights: UnsafeMutableBufferPointer<Float>
) {
  var largest = -Float.infinity
  for part in parts { largest = max(largest, part.logSumExp[head]) }
  guard largest > -.infinity else {
    weights.update(repeating: 0)
    return
  }
  var sum = 0.0
  for part in parts { sum += exponential(Double(part.logSumExp[head] - largest)) }
  for (index, part) in parts.enumerated() {
    weights[index] = Float(exponential(Double(part.logSumExp[head] - largest)) / sum)
  }
}

/// `exp(x)` for `x <= 0`, within 3 units in the last place of a double.
///
/// Written out because this target knows no C: `x = k ln 2 + r`, `|r| <= ln 2 / 2`, and the Taylor
/// series of `exp(r)` to the 13th power.
package func exponential(_ x: Double) -> Double {
  check(x <= 0, "exponential of \(x)")
  guard x > -700 else { return 0 }
  let k = (x * 1.442_695_040_888_963_4).rounded()
  let r = (x - k * 6.931_471_803_691_238e-1) - k * 1.908_214_929_270_587_7e-10
  var term = 1.0
  var sum = 1.0
  for n in 1...13 {
    term *= r / Double(n)
    sum += term
  }
  return sum * Double(sign: .plus, exponent: Int(k), significand: 1)
}
