// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Support

/// One gRPC call, the tag of its own operations: what a server's and a client's call share.
///
/// Confined to the thread of `poller`: every member is checked for it. The object lives as long as
/// an operation is pending, whether or not somebody else holds it.
package class Call: CompletionTarget, @unchecked Sendable {  // confined to the poller's thread
  /// The operations of a call, and the sub-tags of its completions.
  enum Operation: UInt8 {
    /// A client's initial metadata going out.
    case open
    case receiveInitialMetadata
    case receiveMessage
    case sendMessage
    case endWriting
    /// A server's RECV_CLOSE; a client's status.
    case end
    /// A server's call comes to its poller.
    case handOver = 15  // Poller.foreignOperation
  }

  package let poller: Poller
  let slots: UnsafeMutablePointer<cgrpc_call_slots>
  var machine: CallStateMachine
  private let receiveMessageBytesMax: Int
  private var messageInFlight: ByteBufferPointer?
  /// Where messages are gathered with those of other calls; nil posts each at once.
  var outbox: Outbox?
  /// Metadata on its way out.
  var metadataInFlight: [MetadataBuffer] = []

  init(poller: Poller, machine: CallStateMachine, limits: RPCLimits) {
    self.poller = poller
    receiveMessageBytesMax = limits.receiveMessageBytesMax
    self.machine = machine
    slots = .allocate(capacity: 1)
    cgrpc_call_slots_init(slots)
  }

  deinit {
    check(slots.pointee.call == nil, "a call was dropped before its end")
    cgrpc_call_slots_destroy(slots)
    slots.deallocate()
  }

  // MARK: What a handler may ask for

  /// Whether `send` may be called: no message is in flight and writing has not ended.
  package var isReadyToSend: Bool {
    poller.preconditionOnPoller()
    return machine.isReadyToSend
  }

  /// Sends one message of exactly `byteCount` bytes, which `write` encodes in place. Only while
  /// `isReadyToSend`; the handler hears `readyToSend` when the next one may follow. Dropped, with
  /// `write` not called, if the call is over.
  package func send(byteCount: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) {
    poller.preconditionOnPoller()
    guard case .postMessage(let withInitialMetadata) = permitted(machine.send()) else { return }
    guard let buffer = makeByteBuffer(byteCount: byteCount, write) else {
      checkFailed("C-core gave no byte buffer", file: #fileID, line: #line)
    }
    messageInFlight = buffer
    if withInitialMetadata {
      start([initialMetadataOperation(), cgrpc_op_send_message(buffer)], as: .sendMessage)
    } else if let outbox, let call = slots.pointee.call {
      let tag = poller.tag(self, Operation.sendMessage.rawValue)
      poller.post(
        OutgoingMessage(call: call, buffer: buffer, tag: tag, cause: poller.cause), in: outbox)
    } else {
      start(cgrpc_op_send_message(buffer), as: .sendMessage)
    }
  }

  /// Sends one message.
  package func send(_ message: [UInt8]) {
    send(byteCount: message.count) { $0.copyBytes(from: message) }
  }

  /// Asks for one message; the handler hears `received` or `receivedEnd`. Not asking is the flow
  /// control: the peer's window fills up. One read at a time.
  package func read() {
    poller.preconditionOnPoller()
    guard permitted(machine.read()) == .postRead else { return }
    start(cgrpc_op_receive_message(slots), as: .receiveMessage)
  }

  // MARK: What a subclass answers

  func initialMetadataOperation() -> grpc_op { preconditionFailure("subclass") }
  func postWriteEnd(withInitialMetadata: Bool) { preconditionFailure("subclass") }
  func deliverMessage(_ message: UnsafeRawBufferPointer) { preconditionFailure("subclass") }
  func deliverReadEnd() { preconditionFailure("subclass") }
  func deliverReadyToSend() { preconditionFailure("subclass") }
  func deliverEnd() { preconditionFailure("subclass") }
  func openingCompleted(_ operation: Operation, success: Bool) {
    preconditionFailure("subclass")
  }

  // MARK: Completions

  override final func completed(_ operation: UInt8, success: Bool) {
    switch Operation(rawValue: operation) {
    case .open: openingCompleted(.open, success: success)
    case .handOver: openingCompleted(.handOver, success: success)
    case .receiveInitialMetadata: openingCompleted(.receiveInitialMetadata, success: success)
    case .receiveMessage: receiveCompleted(success: success)
    case .sendMessage:
      grpc_byte_buffer_destroy(messageInFlight)
      messageInFlight = nil
      execute(machine.sendCompleted(success: success))
    case .endWriting: execute(machine.writeEndCompleted())
    case .end: machine.overReceived()
    case nil: checkFailed("unknown operation \(operation)", file: #fileID, line: #line)
    }
    execute(machine.nextAfterCompletion())
  }

  private func receiveCompleted(success: Bool) {
    let message = slots.pointee.message
    slots.pointee.message = nil
    defer { grpc_byte_buffer_destroy(message) }
    guard let message, success else {
      let hasFailed = !success || grpc_call_failed_before_recv_message(slots.pointee.call) != 0
      return execute(machine.readCompleted(hasFailed ? .failure : .end))
    }
    guard permitted(machine.readCompleted(.message)) == .deliverMessage else { return }
    do {
      try withBytes(of: message, limit: receiveMessageBytesMax) { deliverMessage($0) }
    } catch {
      cancelCall(error.status)
    }
  }

  private func execute(_ action: CallStateMachine.Action) {
    switch permitted(action) {
    case .nothing: break
    case .postWriteEnd(let withInitialMetadata):
      postWriteEnd(withInitialMetadata: withInitialMetadata)
    case .deliverReadEnd: deliverReadEnd()
    case .deliverReadyToSend: deliverReadyToSend()
    case .deliverEnd:
      deliverEnd()
      grpc_call_unref(slots.pointee.call)
      slots.pointee.call = nil
      metadataInFlight = []
    case .postMessage, .postRead, .deliverMessage, .misuse:
      checkFailed("\(action) answers no completion", file: #fileID, line: #line)
    }
  }

  /// Stops the process on our own bug.
  func permitted(_ action: CallStateMachine.Action) -> CallStateMachine.Action {
    if case .misuse(let what) = action { checkFailed(what, file: #fileID, line: #line) }
    return action
  }

  /// Ends writing, now or when the message in flight is out.
  func endWriting() {
    execute(machine.endWriting())
  }

  // MARK: Batches

  func start(_ operation: grpc_op, as tag: Operation) {
    withUnsafePointer(to: operation) { start($0, count: 1, as: tag) }
  }

  func start(_ operations: [grpc_op], as tag: Operation) {
    operations.withUnsafeBufferPointer { buffer in
      guard let first = buffer.baseAddress else { return }
      start(first, count: buffer.count, as: tag)
    }
  }

  private func start(_ operations: UnsafePointer<grpc_op>, count: Int, as tag: Operation) {
    let code = grpc_call_start_batch(
      slots.pointee.call, operations, count, poller.tag(self, tag.rawValue), nil)
    // The state machine, the metadata checks and the size of the message leave no way to refuse.
    check(code == GRPC_CALL_OK, "C-core refused \(tag): \(describe(code))")
  }

  /// Ends the call at once, whatever is in flight.
  func cancelCall(_ status: Status) {
    poller.preconditionOnPoller()
    guard let call = slots.pointee.call else { return }
    let code = grpc_status_code(status.code.rawValue)
    grpc_call_cancel_with_status(call, code, status.message, nil)
  }
}
