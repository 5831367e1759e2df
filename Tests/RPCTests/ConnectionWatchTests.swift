// SPDX-License-Identifier: Apache-2.0

import RPC
import Synchronization
import Testing

/// What costs a client its connection, by the bytes that it sends.
@Suite struct ConnectionWatchTests {
  private let limits = RPCLimits()
  private let second: UInt64 = 1_000_000_000

  /// A connection whose client has said hello.
  private func watch(
    _ total: ConnectionWatch.Total = .init(), acknowledges: Bool = true,
    _ change: (inout RPCLimits) -> Void = { _ in }
  ) throws -> ConnectionWatch {
    var limits = limits
    change(&limits)
    let watch = ConnectionWatch(limits, total)
    let hello = HTTP2.hello + (acknowledges ? HTTP2.acknowledgedSettings : [])
    try #require(send(hello, watch) == nil)
    return watch
  }

  private func send(
    _ bytes: [UInt8], _ watch: ConnectionWatch, at now: UInt64 = 1_000_000_000
  ) -> ConnectionWatch.Offence? {
    bytes.withUnsafeBytes { watch.received($0, now: now) }
  }

  // MARK: Headers

  @Test func `headers in several frames may be as long as they may be in one`() throws {
    let watch = try watch { $0.metadataBytesMax = 1_000 }
    let rest = 2_000 - 3 * 9
    for stream in [UInt32(1), 3] {
      let first = HTTP2.frame(.headers, stream, Array(repeating: 1, count: 400))
      let more = HTTP2.frame(.continuation, stream, Array(repeating: 1, count: 400))
      let last = HTTP2.frame(
        .continuation, flags: HTTP2.endHeaders, stream, Array(repeating: 1, count: rest - 800))
      #expect(send(first + more + last, watch) == nil)
    }
    let first = HTTP2.frame(.headers, 5, Array(repeating: 1, count: 400))
    let last = HTTP2.frame(
      .continuation, flags: HTTP2.endHeaders, 5, Array(repeating: 1, count: 2_000 - 400 - 17))
    #expect(send(first, watch) == nil)
    #expect(send(last, watch) == .headers)
  }

  @Test func `headers of empty frames without end cost the connection`() throws {
    let watch = try watch()
    #expect(send(HTTP2.frame(.headers, 1), watch) == nil)
    let frames = repeatElement(HTTP2.frame(.continuation, 1), count: limits.headerFrameBytesMax / 9)
    #expect(send(Array(frames.joined()), watch) == .headers)
  }

  // MARK: Calls

  @Test func `calls taken back at once cost the connection, but for a burst`() throws {
    let watch = try watch()
    var stream: UInt32 = 1
    func takeBack(at now: UInt64) -> ConnectionWatch.Offence? {
      defer { stream += 2 }
      return send(HTTP2.call(stream, "/a/b") + HTTP2.reset(stream), watch, at: now)
    }
    for _ in 0..<limits.earlyResetBurstMax { try #require(takeBack(at: second) == nil) }
    // After a second some are forgiven.
    for _ in 0..<limits.earlyResetsPerSecond { try #require(takeBack(at: 2 * second) == nil) }
    #expect(takeBack(at: 2 * second) == .resets)
  }

  @Test func `calls that have run for a while may all be taken back`() throws {
    let watch = try watch()
    let streams = (0..<3_000).map { UInt32(2 * $0 + 1) }
    // Begun one after the other, 500 a second.
    for (number, stream) in streams.enumerated() {
      let now = second + UInt64(number) * 2_000_000
      #expect(send(HTTP2.call(stream, "/a/b"), watch, at: now) == nil)
      if number >= 110 {
        #expect(send(HTTP2.reset(streams[number - 110]), watch, at: now) == nil)
      }
    }
    for stream in streams.suffix(110) {
      #expect(send(HTTP2.reset(stream), watch, at: 10 * second) == nil)
    }
  }

  @Test func `calls beyond the limit cost the connection before it is acknowledged`() throws {
    let watch = try watch(acknowledges: false) { $0.concurrentStreamsMax = 10 }
    for number in 0..<10 {
      #expect(send(HTTP2.call(UInt32(2 * number + 1), "/a/b"), watch) == nil)
    }
    #expect(send(HTTP2.call(21, "/a/b"), watch) == .streams)
    let other = try self.watch { $0.concurrentStreamsMax = 10 }
    for number in 0..<100 {
      #expect(send(HTTP2.call(UInt32(2 * number + 1), "/a/b"), other) == nil)
    }
  }

  // MARK: Floods

  @Test(arguments: [
    (HTTP2.frame(.settings), ConnectionWatch.Offence.upkeep),
    (HTTP2.frame(.ping, 0, [1, 2, 3, 4, 5, 6, 7, 8]), .upkeep),
    (HTTP2.frame(.priority, 3, [0, 0, 0, 1, 9]), .upkeep),
    (HTTP2.frame(.data, 1), .upkeep),
    (HTTP2.reset(77), .upkeep),
    (HTTP2.frame(.windowUpdate, 1, [0, 0, 0, 1]), .windows),
  ])
  func `frames that carry nothing are limited`(
    frame: [UInt8], offence: ConnectionWatch.Offence
  ) throws {
    let (burst, rate) =
      offence == .windows
      ? (limits.windowFrameBurstMax, limits.windowFramesPerSecond)
      : (limits.upkeepFrameBurstMax, limits.upkeepFramesPerSecond)
    let watch = try watch()
    let tenth = Array(repeatElement(frame, count: rate / 10).joined())
    for tenths in 1...20 {
      try #require(send(tenth, watch, at: second + UInt64(tenths) * second / 10) == nil)
    }
    let all = Array(repeatElement(frame, count: burst + 1).joined())
    #expect(send(all, watch, at: 3 * second) == offence)
  }

  // MARK: Messages

  /// Some of a message of 1000 bytes.
  private func part(_ size: Int, on stream: UInt32) -> [UInt8] {
    HTTP2.frame(.data, stream, Array(HTTP2.message(Array(repeating: 7, count: 1_000))[..<size]))
  }

  @Test func `messages count until they end, in whatever pieces`() throws {
    let total = ConnectionWatch.Total()
    do {
      let watch = try watch(total)
      #expect(send(HTTP2.call(1, "/a/b") + HTTP2.call(3, "/a/b"), watch) == nil)
      #expect(send(part(500, on: 1) + part(3, on: 3), watch) == nil)
      let held = total.heldBytes.load(ordering: .relaxed)
      #expect(held >= 500 && held < 1_000)
      let rest = Array(repeating: UInt8(7), count: 505)
      #expect(send(HTTP2.frame(.data, 1, rest + HTTP2.message([1, 2])), watch) == nil)
      #expect(send(HTTP2.reset(3), watch) == nil)
      #expect(total.heldBytes.load(ordering: .relaxed) == 0)
      #expect(send(part(700, on: 1), watch) == nil)
      #expect(send(HTTP2.frame(.data, flags: HTTP2.endStream, 1), watch) == nil)
      #expect(total.heldBytes.load(ordering: .relaxed) == 0)
      #expect(send(part(700, on: 5), watch) == nil)
    }
    #expect(total.heldBytes.load(ordering: .relaxed) == 0, "the connection is closed")
  }

  @Test func `the connection that holds the most goes when all hold too much`() throws {
    let total = ConnectionWatch.Total()
    let large = try watch(total) { $0.resourceQuotaBytes = 20_000 }
    let small = try watch(total) { $0.resourceQuotaBytes = 20_000 }
    for number in 0..<8 { #expect(send(part(1_000, on: UInt32(2 * number + 1)), large) == nil) }
    for number in 0..<2 { #expect(send(part(900, on: UInt32(2 * number + 1)), small) == nil) }
    #expect(send(part(900, on: 21), large) == .messages)
    #expect(send(part(100, on: 7), small) == nil)
  }

  // MARK: Whatever else

  @Test(arguments: [1, 2, 3, 7, 8, 9, 10, 100])
  func `pieces of any size are read alike`(size: Int) throws {
    let total = ConnectionWatch.Total()
    let watch = ConnectionWatch(limits, total)
    var bytes = HTTP2.hello + HTTP2.acknowledgedSettings
    for number in 0..<50 {
      let stream = UInt32(2 * number + 1)
      bytes += HTTP2.call(stream, "/a/b") + part(300, on: stream)
      bytes += HTTP2.frame(.data, stream, Array(repeating: 7, count: 705))
    }
    bytes += part(5 + 100, on: 101)
    for start in stride(from: 0, to: bytes.count, by: size) {
      let piece = Array(bytes[start..<min(start + size, bytes.count)])
      #expect(send(piece, watch) == nil)
    }
    let pieces = total.heldBytes.load(ordering: .relaxed) - 100
    #expect(pieces > 0 && pieces <= 64 * (105 / size + 2))
    let flood = Array(repeatElement(HTTP2.frame(.ping), count: 1 << 16).joined())
    #expect(send(flood, watch) == .upkeep, "still in step")
  }

  @Test(arguments: [
    [0x16, 0x03, 0x01, 0x02, 0x00], Array("GET / HTTP/1.1\r\n".utf8), HTTP2.frame(.settings),
    Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".utf8),
  ])
  func `what is not a client's HTTP/2 is let through`(beginning: [UInt8]) {
    let watch = ConnectionWatch(limits, .init())
    #expect(send(beginning, watch) == nil)
    let flood = Array(repeatElement(HTTP2.frame(.ping), count: 1 << 16).joined())
    #expect(send(flood, watch) == nil)
  }
}
