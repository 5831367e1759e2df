// SPDX-License-Identifier: Apache-2.0

import Support
import TestSupport
import Testing

@Suite struct LatencyHistogramTests {
  @Test func `quantiles are those of the values, to 7 percent and never below`() {
    var random = SeededGenerator(seed: 4)
    var histogram = LatencyHistogram()
    var values: [UInt64] = []
    for _ in 0..<5_000 {
      let bits = UInt64.random(in: 0..<45, using: &random)
      values.append(UInt64.random(in: 0...(1 << bits), using: &random))
      histogram.add(values[values.count - 1])
    }
    values.sort()
    for share in [0.01, 0.5, 0.9, 0.99, 1] {
      let exact = values[Int((share * 5_000).rounded(.up)) - 1]
      let found = histogram.quantile(share)
      #expect(found >= exact && Double(found) <= Double(exact) * 1.07, "\(share)")
    }
    #expect(histogram.max == values.last && histogram.count == 5_000)
  }

  @Test func `it takes no and the largest durations, and the sum of two`() {
    var histogram = LatencyHistogram()
    #expect(histogram.quantile(0.5) == 0)
    histogram.add(0)
    var other = LatencyHistogram()
    other.add(.max)
    histogram.add(other)
    #expect(histogram.count == 2 && histogram.max == .max)
    #expect(histogram.quantile(0.5) == 0 && histogram.quantile(1) == .max)
  }
}
