// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// A queue of fixed capacity from any number of producing threads to one consuming thread. Neither
/// side blocks or allocates; a full ring refuses.
///
/// Each cell carries the number of the turn it is ready for, so that producers claim cells with one
/// compare-exchange (D. Vyukov's bounded queue).
package final class MPSCRing<Element: Sendable>: @unchecked Sendable {
  private struct Cell: ~Copyable {
    /// `n`: free for push number `n`; `n + 1`: holds the element of push number `n`.
    let turn: Atomic<Int>
    var element: Element?
  }

  // A cell's element is touched by the thread whose turn it is.
  private let cells: UnsafeMutablePointer<Cell>
  package let capacity: Int
  private let pushed = Atomic<Int>(0)
  private let popped = Atomic<Int>(0)

  /// A ring for `capacity` elements.
  package init(capacity: Int) {
    check(capacity > 0, "a ring needs room for an element")
    self.capacity = capacity
    cells = .allocate(capacity: capacity)
    for index in 0..<capacity {
      (cells + index).initialize(to: Cell(turn: Atomic(index), element: nil))
    }
  }

  deinit {
    cells.deinitialize(count: capacity)
    cells.deallocate()
  }

  /// Appends an element, or returns false when the ring is full. Any thread.
  package func tryPush(_ element: consuming Element) -> Bool {
    var position = pushed.load(ordering: .relaxed)
    while true {
      let cell = cells + position % capacity
      let lead = cell.pointee.turn.load(ordering: .acquiring) - position
      if lead < 0 { return false }
      guard lead == 0 else {
        position = pushed.load(ordering: .relaxed)
        continue
      }
      let (claimed, current) = pushed.weakCompareExchange(
        expected: position, desired: position + 1, ordering: .relaxed)
      guard claimed else {
        position = current
        continue
      }
      cell.pointee.element = element
      cell.pointee.turn.store(position + 1, ordering: .releasing)
      return true
    }
  }

  /// Takes the oldest element, or returns nil when the ring is empty. Consumer only.
  package func tryPop() -> Element? {
    let position = popped.load(ordering: .relaxed)
    let cell = cells + position % capacity
    guard cell.pointee.turn.load(ordering: .acquiring) == position + 1 else { return nil }
    let element = cell.pointee.element.take()
    cell.pointee.turn.store(position + capacity, ordering: .releasing)
    popped.store(position + 1, ordering: .relaxed)
    return element
  }
}
