// SPDX-License-Identifier: Apache-2.0

import Support
import TestSupport
import Testing

@Suite struct FIFOTests {
  @Test func `it does what an array does`() {
    var random = SeededGenerator(seed: 3)
    var fifo = FIFO<Int>()
    var model: [Int] = []
    for step in 0..<20_000 {
      // Phases that grow, then phases that shrink, so that the front moves far.
      if Int.random(in: 0..<100, using: &random) < (step / 500 % 2 == 0 ? 70 : 30) {
        fifo.append(step)
        model.append(step)
      } else {
        #expect(fifo.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
      }
      #expect(fifo.count == model.count && fifo.isEmpty == model.isEmpty)
      if let offset = model.indices.randomElement(using: &random) {
        #expect(fifo[offset] == model[offset])
      }
    }
  }
}
