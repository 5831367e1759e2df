// SPDX-License-Identifier: Apache-2.0

import Support
import TestSupport
import Testing

@Suite struct NumberTableTests {
  /// Keys that count up, and keys that all begin their search in the same few places.
  @Test(arguments: [1, 1 << 32, 1 << 60])
  func `it does what a dictionary does`(stride: UInt64) {
    var random = SeededGenerator(seed: 5)
    var table = NumberTable<Int>()
    var model: [UInt64: Int] = [:]
    for step in 0..<20_000 {
      // Phases that grow, then phases that shrink.
      let grows = Int.random(in: 0..<100, using: &random) < (step / 1_000 % 2 == 0 ? 70 : 30)
      let key = UInt64.random(in: 0..<400, using: &random) &* stride
      table[key] = grows ? step : nil
      model[key] = grows ? step : nil
      #expect(table.count == model.count)
      let other = UInt64.random(in: 0..<400, using: &random) &* stride
      #expect(table[other] == model[other])
    }
    #expect(table.keys.sorted() == model.keys.sorted())
    #expect(model.allSatisfy { table[$0.key] == $0.value })
  }
}
