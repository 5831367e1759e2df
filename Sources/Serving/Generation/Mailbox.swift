// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import RPC
internal import Step
internal import Synchronization

/// Carries what other threads have for a poller, in order, and wakes it once for many of them.
///
/// A lock, taken for moments, guards an array that the poller swaps for an empty one. It needs no
/// limit of its own: what is inside is bounded by the sequences that run and the tokens that they
/// may generate unsent, or by the prompts that may wait, and nothing may be lost.
final class Mailbox: SequenceSink {
  enum Item: Sendable {
    /// What the engine says after a step that ended at that time.
    case events([SequenceEvent], stepEnd: Nanoseconds)
    case prompt(EncodedPrompt)
    /// Something to be done on the poller in its turn.
    case job(@Sendable () -> Void)
  }

  private let poller: Poller
  private let arrived = Mutex<[Item]>([])

  init(poller: Poller) { self.poller = poller }

  /// Puts something in and wakes the poller, whose kick handler takes it. Any thread.
  func deliver(_ item: Item) {
    arrived.withLock { $0.append(item) }
    poller.kick()
  }

  /// From the engine, once a step.
  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds) {
    arrived.withLock { $0.append(.events(events, stepEnd: stepEnd)) }
  }

  func wakeReader() { poller.kick() }

  func wakeReaderOrRead(_ more: () -> Bool) -> Bool {
    let hasRead = poller.runKickHandlersIfAsleep(more)
    if !hasRead { poller.kick() }
    return hasRead
  }

  /// Takes everything that has arrived, in order.
  func takeAll() -> [Item] {
    arrived.withLock { items in
      guard !items.isEmpty else { return [] }
      defer { items = [] }
      return items
    }
  }
}

/// A prompt back from the aux thread.
struct EncodedPrompt: Sendable {
  var request: GenerationRequest
  var tokens: Result<[Int32], ServingError>
  /// How many tokens each sequence may generate at first.
  var tokenAllowance: Int
  var work: EngineWork
}
