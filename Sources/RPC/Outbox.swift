// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import CSend
internal import Support

/// Messages of one connection on their way to C-core, gathered so that they are written together.
///
/// C-core writes a message while it is posted, with a system call of its own, unless the connection
/// is busy at that moment; then the message waits there, and a thread of C-core's writes all that
/// wait at once. So the first one is posted, and the others from within its `sendmsg`, while the
/// connection is busy with it. If there is no such call (the connection was busy with something
/// else, or the client does not read), they are posted after it.
///
/// Confined to its poller, which posts what is there before it sleeps.
final class Outbox {
  /// As C-core names the client.
  let peer: String
  /// Calls that use it.
  var callCount = 0
  private let messages: UnsafeMutableBufferPointer<OutgoingMessage>
  private let latency: HandOverLatency
  private(set) var count = 0
  /// Set while the connection is busy with the first message: others are posted as they come.
  private var isPassing = false
  /// What to do while it is.
  private var meanwhile: (() -> Void)?

  /// - Parameter capacity: messages that are gathered, at most.
  init(peer: String, capacity: Int, latency: HandOverLatency) {
    self.peer = peer
    self.latency = latency
    messages = .allocate(capacity: capacity)
  }

  deinit {
    check(count == 0, "messages were left behind")
    messages.deallocate()
  }

  var isEmpty: Bool { count == 0 }

  /// Returns false if it was posted at once.
  func append(_ message: OutgoingMessage) -> Bool {
    if isPassing {
      post(message)
      return false
    }
    if count == messages.count { flush(nil) }
    messages.initializeElement(at: count, to: message)
    count += 1
    return true
  }

  /// Posts what is there.
  ///
  /// - Parameter meanwhile: called once while the connection is busy: what is appended by then is
  ///   written with the rest. There must be a message.
  func flush(_ meanwhile: (() -> Void)?) {
    if count >= Self.togetherMin || meanwhile != nil {
      self.meanwhile = meanwhile
      csend_arm(
        { context in
          guard let context else { return }
          Unmanaged<Outbox>.fromOpaque(context).takeUnretainedValue().postRest()
        }, Unmanaged.passUnretained(self).toOpaque())
      post(messages[0])
      if csend_disarm() == 0 { postRest() }
    } else {
      for index in 0..<count { post(messages[index]) }
      count = 0
    }
  }

  private func postRest() {
    for index in 1..<count { post(messages[index]) }
    count = 0
    guard let meanwhile else { return }
    self.meanwhile = nil
    isPassing = true
    meanwhile()
    isPassing = false
  }

  /// With fewer, writing each by itself costs less than waking the thread that writes them at once.
  private static let togetherMin = 3

  private func post(_ message: OutgoingMessage) {
    latency.noteHandOver(cause: message.cause)
    message.post()
  }
}

/// A message that C-core is to be given. Plain pointers: its call keeps them, and the tag the call.
struct OutgoingMessage {
  let call: OpaquePointer
  let buffer: ByteBufferPointer
  let tag: UnsafeMutableRawPointer
  /// When what it tells of happened, on `Clock`; 0 if that is not measured.
  let cause: UInt64

  func post() {
    let operation = cgrpc_op_send_message(buffer)
    let code = withUnsafePointer(to: operation) { grpc_call_start_batch(call, $0, 1, tag, nil) }
    // The state machine and the size of the message leave no way to refuse.
    check(code == GRPC_CALL_OK, "C-core refused a message: \(describe(code))")
  }
}

/// The outboxes of a poller; confined to it.
final class OutboxTable {
  private let capacity: Int
  private let latency: HandOverLatency
  private var byPeer: [String: Outbox] = [:]
  /// Those with messages.
  private var waiting = FIFO<Outbox>()

  init(limits: RPCLimits, latency: HandOverLatency) {
    capacity = limits.gatheredMessagesMax
    self.latency = latency
  }

  var isEmpty: Bool { waiting.isEmpty }

  /// The outbox of a client's connection, for one more call.
  func open(peer: String) -> Outbox {
    let outbox = byPeer[peer] ?? Outbox(peer: peer, capacity: capacity, latency: latency)
    outbox.callCount += 1
    byPeer[peer] = outbox
    return outbox
  }

  /// A call has ended.
  func close(_ outbox: Outbox) {
    outbox.callCount -= 1
    if outbox.callCount == 0 { byPeer[outbox.peer] = nil }
  }

  func append(_ message: OutgoingMessage, to outbox: Outbox) {
    let wasEmpty = outbox.isEmpty
    if outbox.append(message), wasEmpty { waiting.append(outbox) }
  }

  /// Posts what is there.
  ///
  /// - Parameter meanwhile: called once, while the first of the connections is busy.
  func flush(_ meanwhile: (() -> Void)? = nil) {
    var meanwhile = meanwhile
    while let outbox = waiting.popFirst() {
      outbox.flush(meanwhile)
      meanwhile = nil
    }
    meanwhile?()
  }
}
