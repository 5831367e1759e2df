// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Support

/// The tag of an accept: C-core will tell on one poller's queue, the door, of a call that belongs
/// to this or another poller.
final class PendingAccept: CompletionTarget {
  private let call: ServerCall
  private let door: Poller
  private unowned let server: Server

  init(_ call: ServerCall, at door: Poller, of server: Server) {
    self.call = call
    self.door = door
    self.server = server
  }

  /// On the door's thread.
  func post(to handle: OpaquePointer) {
    let code = cgrpc_server_request_call(
      handle, call.slots, call.poller.queue, door.queue, door.tag(self, 0))
    check(code == GRPC_CALL_OK, "C-core refused an accept: \(describe(code))")
  }

  override func completed(_ operation: UInt8, success: Bool) {
    guard success else { return server.acceptReturned() }
    server.accepted(call, at: door)
  }
}
