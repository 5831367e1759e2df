// SPDX-License-Identifier: Apache-2.0

/// A queue in an array, whose front moves instead of its elements: both ends in constant time on
/// average, and no allocation once it has its size. Whoever uses it bounds it.
///
/// Public and inlinable, so that other modules get it for their own elements: what is `package` is
/// not specialised across modules.
public struct FIFO<Element> {
  @usableFromInline var elements: [Element?] = []
  @usableFromInline var head = 0

  @inlinable
  public init() {}

  @inlinable
  public var count: Int { elements.count - head }

  @inlinable
  public var isEmpty: Bool { head == elements.count }

  /// The element that `popFirst` would give after `offset` others.
  @inlinable
  public subscript(offset: Int) -> Element {
    guard let element = elements[head + offset] else {
      checkFailed("an element before the front", file: #fileID, line: #line)
    }
    return element
  }

  @inlinable
  public mutating func append(_ element: Element) { elements.append(element) }

  @inlinable
  public mutating func popFirst() -> Element? {
    guard head < elements.count else { return nil }
    let element = elements[head].take()
    head += 1
    if head == elements.count {
      elements.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 64, head * 2 >= elements.count {
      elements.removeFirst(head)
      head = 0
    }
    return element
  }
}

extension FIFO: Sendable where Element: Sendable {}
