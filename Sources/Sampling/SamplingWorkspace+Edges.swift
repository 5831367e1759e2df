// SPDX-License-Identifier: Apache-2.0

extension SamplingWorkspace {
  /// Of the last draw at random, which gave `token`: the smallest and the largest `random` that
  /// give it. There one unit more or less in any sum gives another token, so whoever draws the same
  /// at both has the same sums.
  package func edges(of token: Int) -> ClosedRange<UInt64> {
    let block = token / Self.blockLength
    let before = weights[block * Self.blockLength..<token].reduce(
      blockSums[..<block].reduce(0, +)
    ) { $0 + WeightUnits.units($1) }
    let end = before + WeightUnits.units(weights[token])
    let total = blockSums.reduce(0, +)
    let last = end == total ? .max : Self.first(reaching: end, of: total) - 1
    return Self.first(reaching: before, of: total)...last
  }

  /// The smallest number of which `total` times it, in 2^-64, is a sum below `total`.
  private static func first(reaching sum: UInt64, of total: UInt64) -> UInt64 {
    let (quotient, remainder) = total.dividingFullWidth((high: sum, low: 0))
    return quotient + (remainder > 0 ? 1 : 0)
  }
}
