// SPDX-License-Identifier: Apache-2.0

internal import Support

/// Work for one thread from one other: a ring that is as large as the work can ever be, and the
/// reader's alarm clock.
struct Inbox<Element: Sendable>: Sendable {
  private let ring: SPSCRing<Element>
  private let wake: WakeSignal

  /// - Parameter wake: the reader's; it may serve several inboxes of the same reader.
  init(capacity: Int, wake: WakeSignal) {
    ring = SPSCRing(capacity: capacity)
    self.wake = wake
  }

  /// Writer: never blocks. A full ring is a bug, since its size is the most that can be on the way.
  func put(_ element: Element) {
    putSilently(element)
    wake.notify()
  }

  /// Writer: the same, when the reader learns of it in another way.
  func putSilently(_ element: Element) {
    check(ring.tryPush(element), "a ring of \(ring.capacity) has no room")
  }

  /// Reader: what is there, or nil.
  func poll() -> Element? { ring.tryPop() }

  /// Reader: sleeps until there is something.
  func take() -> Element {
    while true {
      if let element = ring.tryPop() { return element }
      wake.wait()
    }
  }
}
