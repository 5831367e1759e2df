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
  package var concurrentStreamsMax = 1_024
  /// Calls open at once on the server; more are answered with RESOURCE_EXHAUSTED.
  package var callCountMax = 65_536
  /// Bytes of frames that the headers of one call may come in. C-core 1.51 applies its limit to
  /// each of the frames only. A client that sends more loses its connection.
  package var headerFrameBytesMax: Int { 2 * metadataBytesMax }
  /// Bytes of messages that have not ended, of all connections together; beyond that, a client that
  /// sends more of its own and has at least the average loses its connection.
  package var unfinishedBytesMax: Int { resourceQuotaBytes / 2 }
  /// Calls that a client may take back within `earlyResetMilliseconds` of their begin: so many at
  /// once, and so many a second for ever. One that takes back more loses its connection. What it
  /// has begun is work all the same, and it may connect anew: with 1,024, clients that did so
  /// kept two cores busy for up to two seconds after, with 1 to 3 GB of calls.
  package var earlyResetBurstMax = 256
  package var earlyResetsPerSecond = 200
  package var earlyResetMilliseconds = 100
  /// Frames that only keep a connection going, such as pings: so many at once, and so many a second
  /// for ever. A client that sends more loses its connection.
  package var upkeepFrameBurstMax = 20_000
  package var upkeepFramesPerSecond = 20_000
  /// The same of frames that open windows, which an honest client sends up to two of for each
  /// message that it gets.
  package var windowFrameBurstMax = 1_000_000
  package var windowFramesPerSecond = 1_000_000
  /// Bytes taken from a connection at a time, so that what comes next of others is not late.
  package var readChunkBytesMax = 64 << 10
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
