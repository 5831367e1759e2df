// SPDX-License-Identifier: Apache-2.0

/// The server's side of one call. Every method runs on the call's poller and must not block.
package protocol ServerCallHandler: AnyObject {
  /// The message asked for with `read` is there; the span is valid within this call only. The next
  /// one needs another `read`.
  func received(_ message: RawSpan, on call: ServerCall)

  /// The client will send nothing more; the answer to a `read`.
  func receivedEnd(on call: ServerCall)

  /// The message in flight is out: what has gathered since may be sent now.
  func readyToSend(on call: ServerCall)

  /// The call is over: exactly once, and last. `wasCancelled` says that the client did not get the
  /// status: it cancelled, its deadline passed, or it is gone.
  func ended(on call: ServerCall, wasCancelled: Bool)
}
