// SPDX-License-Identifier: Apache-2.0

/// The bounds of the transport. Each is given to C-core explicitly; nothing is left to a default.
package struct RPCLimits: Hashable, Sendable {
  /// The largest message taken in, before and after decompression; a larger one ends its call with
  /// RESOURCE_EXHAUSTED.
  package var receiveMessageBytesMax = 16 << 20
  /// The largest message sent.
  package var sendMessageBytesMax = 16 << 20
  /// The largest headers or trailers of a call, keys and values together. A client that sends more
  /// loses its connection: C-core 1.51 does not end the one call only.
  package var metadataBytesMax = 16 << 10
  /// Calls open at once on one connection; more wait at the client.
  package var concurrentStreamsMax = 4_096
  /// Calls open at once on the server; more are answered with RESOURCE_EXHAUSTED.
  package var callCountMax = 65_536
  /// Accepts kept outstanding per poller; with too few, new calls take a slow path.
  package var outstandingAcceptCount = 64
  /// Jobs waiting for one poller; `Poller.submit` refuses more.
  package var pollerJobCountMax = 8_192
  /// Messages of one connection that are gathered before they are posted.
  package var gatheredMessagesMax = 32
  /// Memory that C-core may hold for one server's connections before it slows reading.
  package var resourceQuotaBytes = 1 << 30
  /// Bytes that the peer may send on a stream before they are read; nil: C-core finds a window for
  /// the speed of the line, up to some megabytes.
  package var streamWindowBytes: Int?
  /// Bytes a stream may buffer before a write counts as blocked.
  package var writeBufferBytes = 64 << 10
  /// A connection that has not finished its handshake by then is closed.
  package var handshakeMillisecondsMax = 20_000
  /// Quiet time after which a peer is pinged, so that a vanished one is noticed.
  package var keepaliveIntervalMilliseconds = 60_000
  /// A ping unanswered for this long ends the connection.
  package var keepaliveTimeoutMilliseconds = 20_000
  /// Clients may ping this often; and none is cut for pinging more often.
  package var pingIntervalMillisecondsMin = 500

  package init() {}
}
