// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// A queue of fixed capacity between one producing and one consuming thread. Neither side blocks
/// or allocates; a full ring refuses, which is back-pressure for the producer to act on.
package final class SPSCRing<Element: Sendable>: @unchecked Sendable {
  // A slot belongs to the producer while it is empty and to the consumer while it is full.
  private let slots: UnsafeMutablePointer<Element>
  package let capacity: Int
  private let popped = Atomic<Int>(0)
  private let pushed = Atomic<Int>(0)

  /// A ring for `capacity` elements.
  package init(capacity: Int) {
    check(capacity > 0, "a ring needs room for an element")
    self.capacity = capacity
    slots = .allocate(capacity: capacity)
  }

  deinit {
    while tryPop() != nil {}
    slots.deallocate()
  }

  /// Appends an element, or returns false when the ring is full. Producer only.
  package func tryPush(_ element: consuming Element) -> Bool {
    let position = pushed.load(ordering: .relaxed)
    guard position - popped.load(ordering: .acquiring) < capacity else { return false }
    (slots + position % capacity).initialize(to: element)
    pushed.store(position + 1, ordering: .releasing)
    return true
  }

  /// Takes the oldest element, or returns nil when the ring is empty. Consumer only.
  package func tryPop() -> Element? {
    let position = popped.load(ordering: .relaxed)
    guard position < pushed.load(ordering: .acquiring) else { return nil }
    let element = (slots + position % capacity).move()
    popped.store(position + 1, ordering: .releasing)
    return element
  }

  /// Elements inside; exact for the two sides, a moment's view for others.
  package var count: Int {
    pushed.load(ordering: .acquiring) - popped.load(ordering: .acquiring)
  }
}
