// SPDX-License-Identifier: Apache-2.0

/// The client's side of one call. Every method runs on the call's poller and must not block.
package protocol ClientCallHandler: AnyObject {
  /// The server's headers are there, if it sent any before its status.
  func receivedInitialMetadata(_ metadata: Metadata, on call: ClientCall)

  /// The message asked for with `read` is there; the span is valid within this call only. The next
  /// one needs another `read`.
  func received(_ message: RawSpan, on call: ClientCall)

  /// The server will send no more messages; the answer to a `read`. The status follows.
  func receivedEnd(on call: ClientCall)

  /// The message in flight is out; the next may follow.
  func readyToSend(on call: ClientCall)

  /// The call is over: exactly once, and last. Comes only after all messages have been read, unless
  /// the call failed.
  func ended(on call: ClientCall, status: Status, trailers: Metadata)
}
