// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// A call for code that may wait, such as a command: it sends, receives and finishes in the order
/// of its lines. One thread at a time, and not a poller; `cancel` from any thread.
///
/// It reads a message only when asked for one, so the server feels a slow reader.
package final class BlockingCall: Sendable {
  /// How a call ended.
  package struct Outcome: Hashable, Sendable {
    package let status: Status
    package let trailers: Metadata
  }

  private let call: ClientCall
  private let inbox: Inbox

  /// Begins the call. Throws if the poller takes no more jobs. A server that cannot be reached is
  /// reported by `finish`.
  package init(
    on channel: Channel, path: String, metadata: Metadata = Metadata(), deadline: UInt64? = nil
  ) throws(RPCError) {
    let inbox = Inbox()
    let call = ClientCall(
      on: channel, path: path, metadata: metadata, deadline: deadline, handler: inbox)
    self.call = call
    self.inbox = inbox
    try submit { call.start() }
  }

  /// Sends one message once the one before is out. Returns false if the call is over.
  @discardableResult
  package func send(_ message: [UInt8]) throws(RPCError) -> Bool {
    inbox.wait { $0.isReadyToSend || $0.outcome != nil }
    guard inbox.state.withLock({ $0.takeTurnToSend() }) else { return false }
    try submit { [call] in call.send(message) }
    return true
  }

  /// Half-closes: no more messages will be sent. Once, and before `finish` or instead of it.
  package func sendEnd() throws(RPCError) {
    guard inbox.state.withLock({ $0.takeEndOfWriting() }) else { return }
    try submit { [call] in call.sendEnd() }
  }

  /// The next message of the server; nil when it sends no more. Waits.
  package func receive() throws(RPCError) -> [UInt8]? {
    guard inbox.state.withLock({ $0.takeTurnToRead() }) else { return nil }
    try submit { [call] in call.read() }
    inbox.wait { $0.reading != .outstanding || $0.outcome != nil }
    return inbox.state.withLock { $0.message.take() }
  }

  /// The server's headers; waits for them, or for the end of a call without any.
  package func initialMetadata() -> Metadata {
    inbox.wait { $0.initialMetadata != nil || $0.outcome != nil }
    return inbox.state.withLock { $0.initialMetadata ?? Metadata() }
  }

  /// Half-closes, reads on to the end, discarding messages, and says how the call ended. Waits.
  package func finish() throws(RPCError) -> Outcome {
    try sendEnd()
    while try receive() != nil {}
    inbox.wait { $0.outcome != nil }
    guard let outcome = inbox.state.withLock({ $0.outcome }) else {
      checkFailed("a call ended without an outcome", file: #fileID, line: #line)
    }
    return outcome
  }

  /// Ends the call at once; `finish` then says CANCELLED. Any thread.
  package func cancel() throws(RPCError) {
    try submit { [call] in call.cancel() }
  }

  private func submit(_ job: @escaping Poller.Job) throws(RPCError) {
    guard call.poller.submit(job) else {
      throw RPCError(
        .resourceExhausted, "\(call.poller.name) takes no more jobs: it is full or stops")
    }
  }
}

/// What has arrived from the poller and not been taken by the blocking thread.
private final class Inbox: ClientCallHandler, Sendable {
  enum Reading {
    case idle
    case outstanding
    case ended
  }

  struct State {
    var isReadyToSend = true
    var hasEndedWriting = false
    var reading = Reading.idle
    var message: [UInt8]?
    var initialMetadata: Metadata?
    var outcome: BlockingCall.Outcome?

    mutating func takeTurnToSend() -> Bool {
      guard outcome == nil else { return false }
      isReadyToSend = false
      return true
    }

    mutating func takeEndOfWriting() -> Bool {
      defer { hasEndedWriting = true }
      return !hasEndedWriting
    }

    mutating func takeTurnToRead() -> Bool {
      guard reading == .idle, outcome == nil else { return false }
      reading = .outstanding
      return true
    }
  }

  let state = Mutex(State())
  private let arrived = WakeSignal()

  /// Sleeps until `condition` holds. The blocking thread only.
  func wait(until condition: (borrowing State) -> Bool) {
    while !state.withLock({ condition($0) }) { arrived.wait() }
  }

  private func update(_ change: (inout State) -> Void) {
    state.withLock { change(&$0) }
    arrived.notify()
  }

  func receivedInitialMetadata(_ metadata: Metadata, on call: ClientCall) {
    update { $0.initialMetadata = metadata }
  }

  func received(_ message: RawSpan, on call: ClientCall) {
    let bytes = message.withUnsafeBytes { Array($0) }
    update {
      $0.message = bytes
      $0.reading = .idle
    }
  }

  func receivedEnd(on call: ClientCall) {
    update { $0.reading = .ended }
  }

  func readyToSend(on call: ClientCall) {
    update { $0.isReadyToSend = true }
  }

  func ended(on call: ClientCall, status: Status, trailers: Metadata) {
    update { $0.outcome = BlockingCall.Outcome(status: status, trailers: trailers) }
  }
}
