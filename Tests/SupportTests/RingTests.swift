// SPDX-License-Identifier: Apache-2.0

import Support
import Synchronization
import Testing

@Suite struct RingTests {
  @Test func `a full ring refuses and an empty one gives nothing`() {
    let single = SPSCRing<Int>(capacity: 2)
    #expect(single.tryPop() == nil)
    #expect(single.tryPush(1) && single.tryPush(2) && !single.tryPush(3))
    #expect(single.count == 2 && single.tryPop() == 1 && single.tryPush(3))
    #expect(single.tryPop() == 2 && single.tryPop() == 3 && single.tryPop() == nil)

    let multiple = MPSCRing<Int>(capacity: 2)
    #expect(multiple.tryPop() == nil)
    #expect(multiple.tryPush(1) && multiple.tryPush(2) && !multiple.tryPush(3))
    #expect(multiple.tryPop() == 1 && multiple.tryPush(3))
    #expect(multiple.tryPop() == 2 && multiple.tryPop() == 3 && multiple.tryPop() == nil)
  }

  @Test func `one producer's elements arrive in order`() {
    let ring = SPSCRing<Int>(capacity: 7)
    let wake = WakeSignal()
    let count = 20_000
    let producer = PinnedThread(name: "producer") {
      for value in 0..<count {
        while !ring.tryPush(value) {}
        wake.notify()
      }
    }
    var expected = 0
    while expected < count {
      while let value = ring.tryPop() {
        #expect(value == expected)
        expected += 1
      }
      if expected < count { wake.wait(until: Clock.nowNanoseconds + 1_000_000_000) }
    }
    producer.join()
  }

  @Test func `elements of several producers arrive once each and in each one's order`() {
    let ring = MPSCRing<(Int, Int)>(capacity: 5)
    let count = 5_000
    let producers = (0..<3).map { producer in
      PinnedThread(name: "producer-\(producer)") {
        for value in 0..<count { while !ring.tryPush((producer, value)) {} }
      }
    }
    var next = [0, 0, 0]
    while next.reduce(0, +) < 3 * count {
      guard let (producer, value) = ring.tryPop() else { continue }
      #expect(value == next[producer])
      next[producer] += 1
    }
    producers.forEach { $0.join() }
    #expect(ring.tryPop() == nil)
  }

  @Test func `a ring frees what it still holds`() {
    final class Item: Sendable {
      let onFree: @Sendable () -> Void
      init(_ onFree: @escaping @Sendable () -> Void) { self.onFree = onFree }
      deinit { onFree() }
    }
    final class Counter: Sendable { let value = Atomic<Int>(0) }
    let freed = Counter()
    do {
      let single = SPSCRing<Item>(capacity: 4)
      let multiple = MPSCRing<Item>(capacity: 4)
      for _ in 0..<3 {
        #expect(single.tryPush(Item { freed.value.add(1, ordering: .relaxed) }))
        #expect(multiple.tryPush(Item { freed.value.add(1, ordering: .relaxed) }))
      }
      _ = single.tryPop()
      _ = multiple.tryPop()
    }
    #expect(freed.value.load(ordering: .relaxed) == 6)
  }
}
