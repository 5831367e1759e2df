// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Support

/// One call of a client, on the server. See `Call` for reading, sending and the thread.
package final class ServerCall: Call, @unchecked Sendable {  // confined to the poller's thread
  /// The method's path, as in `/package.Service/Method`.
  package private(set) var path = ""
  /// The client's headers.
  package private(set) var metadata = Metadata()
  /// The client's address as C-core writes it, as in `ipv4:127.0.0.1:40312`.
  package private(set) var peer = ""
  /// When the client gives up, in nanoseconds on `Clock`; C-core cancels the call then.
  package private(set) var deadline: UInt64?
  /// What `ServerConfiguration.admit` has learned of the client, for the handler.
  package var context: (any AnyObject & Sendable)?

  /// Whether the server had as many calls as it may when this one came. Set before it begins.
  var isBeyondLimit = false

  private unowned let server: Server
  private var handler: (any ServerCallHandler)?
  private var initialMetadata = Metadata()
  private var status: (status: Status, trailers: Metadata)?

  init(server: Server, poller: Poller) {
    self.server = server
    super.init(
      poller: poller, machine: .server(), limits: server.configuration.limits)
  }

  /// Sets the headers of the answer, which go with its first message or its status.
  package func setInitialMetadata(_ metadata: Metadata) {
    poller.preconditionOnPoller()
    check(machine.canSetInitialMetadata, "initial metadata was sent before")
    initialMetadata = metadata
  }

  /// Ends the call with a status, after the message in flight. Once.
  package func finish(_ status: Status, trailers: Metadata = Metadata()) {
    poller.preconditionOnPoller()
    if self.status == nil { self.status = (status, trailers) }
    endWriting()
  }

  /// Ends the call at once without waiting for the message in flight, for a client that does not
  /// read. `ended` follows; the client gets `status` if the connection can still carry it.
  package func cancel(_ status: Status) {
    cancelCall(status)
  }

  // MARK: Life

  /// Gives an accepted call to the thread of its poller, which begins it. On another poller.
  func handOver() {
    let tag = poller.foreignTag(self)
    // An empty batch completes at once, as an event of the call's own queue.
    let code = grpc_call_start_batch(slots.pointee.call, nil, 0, tag, nil)
    check(code == GRPC_CALL_OK, "C-core refused a hand-over: \(describe(code))")
  }

  override func openingCompleted(_ operation: Operation, success: Bool) {
    server.begin(self)
  }

  /// Learns who calls what, and posts RECV_CLOSE, so that a cancellation is seen at once.
  func begin() {
    start(cgrpc_op_receive_close(slots), as: .end)
    path = text(of: slots.pointee.details.method)
    metadata = Metadata(slots.pointee.initial_metadata)
    deadline = Deadline.nanoseconds(slots.pointee.details.deadline)
    if let name = grpc_call_get_peer(slots.pointee.call) {
      peer = String(cString: name)
      gpr_free(name)
    }
    outbox = poller.openOutbox(peer: peer)
  }

  func attach(_ handler: any ServerCallHandler) {
    self.handler = handler
  }

  // MARK: Operations

  override func initialMetadataOperation() -> grpc_op {
    let buffer = MetadataBuffer(initialMetadata)
    metadataInFlight.append(buffer)
    return cgrpc_op_send_initial_metadata(buffer.elements, buffer.count)
  }

  override func postWriteEnd(withInitialMetadata: Bool) {
    guard let (status, trailers) = status else { return }
    var trailing = trailers
    if !status.details.isEmpty { trailing.appendUnchecked(Status.detailsKey, status.details) }
    let buffer = MetadataBuffer(trailing)
    metadataInFlight.append(buffer)
    var message = makeSlice(status.message.utf8)
    defer { grpc_slice_unref(message) }
    withUnsafeMutablePointer(to: &message) { message in
      let code = grpc_status_code(status.code.rawValue)
      let end = cgrpc_op_send_status(code, message, buffer.elements, buffer.count)
      start(withInitialMetadata ? [initialMetadataOperation(), end] : [end], as: .endWriting)
    }
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
    handler?.ended(on: self, wasCancelled: slots.pointee.cancelled != 0)
    handler = nil
    if let outbox { poller.closeOutbox(outbox) }
    server.ended(self)
  }
}
