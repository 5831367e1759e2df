// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Support

/// One call to a server. See `Call` for reading, sending and the thread.
package final class ClientCall: Call, @unchecked Sendable {  // confined to the poller's thread
  /// The method's path, as in `/package.Service/Method`.
  package let path: String
  /// Nanoseconds on `Clock`; the call fails with DEADLINE_EXCEEDED then. None if nil.
  package let deadline: UInt64?

  private let channel: Channel
  private let metadata: Metadata
  private var handler: (any ClientCallHandler)?

  /// Any thread; nothing happens before `start`.
  package init(
    on channel: Channel, path: String, metadata: Metadata = Metadata(), deadline: UInt64? = nil,
    handler: any ClientCallHandler
  ) {
    self.channel = channel
    self.path = path
    self.metadata = metadata
    self.deadline = deadline
    self.handler = handler
    super.init(
      poller: channel.poller, machine: .client(openingCount: 2), limits: channel.limits)
  }

  /// Begins the call; messages may be sent and read from now on. Once.
  package func start() {
    poller.preconditionOnPoller()
    check(slots.pointee.call == nil && handler != nil, "a call starts once")
    let method = makeSlice(path.utf8)
    defer { grpc_slice_unref(method) }
    slots.pointee.call = grpc_channel_create_call(
      channel.handle, nil, 0, poller.queue, method, nil,
      Deadline.timespec(deadline), nil)
    start(cgrpc_op_receive_status(slots), as: .end)
    start(cgrpc_op_receive_initial_metadata(slots), as: .receiveInitialMetadata)
    start(initialMetadataOperation(), as: .open)
  }

  /// Half-closes: no more messages will be sent. After the message in flight; once.
  package func sendEnd() {
    poller.preconditionOnPoller()
    endWriting()
  }

  /// Ends the call at once; `ended` follows with CANCELLED.
  package func cancel() {
    cancelCall(Status(.cancelled, "cancelled by the client"))
  }

  // MARK: Operations

  override func initialMetadataOperation() -> grpc_op {
    let buffer = MetadataBuffer(metadata)
    metadataInFlight.append(buffer)
    return cgrpc_op_send_initial_metadata(buffer.elements, buffer.count)
  }

  override func postWriteEnd(withInitialMetadata: Bool) {
    start(cgrpc_op_send_close(), as: .endWriting)
  }

  override func openingCompleted(_ operation: Operation, success: Bool) {
    machine.openingCompleted()
    guard operation == .receiveInitialMetadata, success else { return }
    handler?.receivedInitialMetadata(Metadata(slots.pointee.initial_metadata), on: self)
  }

  // MARK: Deliveries

  override func deliverMessage(_ message: UnsafeRawBufferPointer) {
    handler?.received(message.bytes, on: self)
  }

  override func deliverReadEnd() {
    handler?.receivedEnd(on: self)
  }

  override func deliverReadyToSend() {
    handler?.readyToSend(on: self)
  }

  override func deliverEnd() {
    var trailers = Metadata(slots.pointee.trailing_metadata)
    let details = trailers.remove(Status.detailsKey) ?? []
    let code = StatusCode(rawValue: Int32(slots.pointee.status.rawValue)) ?? .unknown
    let message = text(of: slots.pointee.status_message)
    let handler = handler
    self.handler = nil
    handler?.ended(
      on: self, status: Status(code, message, details: details), trailers: trailers)
  }
}
