// SPDX-License-Identifier: Apache-2.0

/// A queue in a ring that grows: both ends in constant time on average, and no allocation once it
/// has its size. Whoever uses it bounds it.
///
/// Public and inlinable, so that other modules get it for their own elements: what is `package` is
/// not specialised across modules.
public struct FIFO<Element> {
  /// A power of two of them; those in use begin at `head` and go on at the beginning.
  @usableFromInline var slots: [Element?] = []
  @usableFromInline var head = 0
  @usableFromInline var used = 0

  @inlinable
  public init() {}

  @inlinable
  public var count: Int { used }

  @inlinable
  public var isEmpty: Bool { used == 0 }

  /// The element that `popFirst` would give after `offset` others.
  @inlinable
  public subscript(offset: Int) -> Element {
    guard offset < count, let element = slots[(head + offset) & (slots.count - 1)] else {
      checkFailed("element \(offset) of a queue of \(count)", file: #fileID, line: #line)
    }
    return element
  }

  @inlinable
  public mutating func append(_ element: Element) {
    if count == slots.count { grow() }
    slots[(head + count) & (slots.count - 1)] = element
    used += 1
  }

  @inlinable
  public mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let element = slots[head].take()
    head = (head + 1) & (slots.count - 1)
    used -= 1
    return element
  }

  /// Doubles the ring, which is full.
  @usableFromInline
  mutating func grow() {
    var larger: [Element?] = []
    larger.reserveCapacity(max(8, 2 * count))
    larger += slots[head...]
    larger += slots[..<head]
    larger += repeatElement(nil, count: max(8, 2 * count) - count)
    slots = larger
    head = 0
  }
}

extension FIFO: Sendable where Element: Sendable {}
