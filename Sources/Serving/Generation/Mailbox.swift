// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import RPC
internal import Step
internal import Synchronization

/// Carries values from another thread to a poller, which is woken once for many of them.
///
/// A lock, taken for moments, guards an array that the poller swaps for an empty one. It needs no
/// limit of its own: what is inside is bounded by the sequences that run and their `max_tokens`,
/// or by the prompts that may wait, and nothing may be lost.
final class Mailbox<Element: Sendable>: Sendable {
  private let poller: Poller
  private let arrived = Mutex<[Element]>([])

  init(poller: Poller) { self.poller = poller }

  /// Puts a value in. The poller sees it after `flush`. Any thread.
  func deliver(_ element: Element) {
    arrived.withLock { $0.append(element) }
  }

  /// Wakes the poller; its kick handler takes what has arrived. Any thread.
  func flush() { poller.kick() }

  /// Takes everything that has arrived, in order.
  func takeAll() -> [Element] {
    arrived.withLock { elements in
      guard !elements.isEmpty else { return [] }
      defer { elements = [] }
      return elements
    }
  }
}

/// The engine delivers a step's events and flushes once, at its end.
extension Mailbox: SequenceSink where Element == SequenceEvent {}
