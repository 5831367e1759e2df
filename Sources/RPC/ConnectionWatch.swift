// SPDX-License-Identifier: Apache-2.0

package import Synchronization

/// Reads along in what one client sends, and tells when it does what C-core 1.51 takes in without a
/// limit. Confined to whoever reads from the connection at the moment.
package final class ConnectionWatch {
  /// What all connections hold together.
  package final class Total: Sendable {
    package let heldBytes = Atomic<Int>(0)
    let holderCount = Atomic<Int>(0)

    package init() {}
  }

  package enum Offence: String {
    case headers = "headers without an end"
    case resets = "calls taken back as soon as they begin"
    case streams = "more calls than it may have open"
    case upkeep = "a flood of frames that carry nothing"
    case windows = "a flood of window updates"
    case messages = "too much of messages without an end"
  }

  private let limits: RPCLimits
  private let total: Total
  private var reader = FrameReader()
  private var ages: StreamAges
  private var earlyResets: Allowance
  private var upkeepFrames: Allowance
  private var windowFrames: Allowance
  private var messages = UnfinishedMessages()
  /// What of the messages is in the total.
  private var heldBytes = 0
  /// Of the frames of the headers that are being sent.
  private var headerBytes = 0
  /// Whether the client knows how many calls it may have open; until then, how many it has begun.
  private var knowsSettings = false
  private var earlyStreamCount = 0

  package init(_ limits: RPCLimits, _ total: Total) {
    self.limits = limits
    self.total = total
    ages = StreamAges(youth: UInt64(limits.earlyResetMilliseconds) * 1_000_000)
    earlyResets = Allowance(
      burst: limits.earlyResetBurstMax, perSecond: limits.earlyResetsPerSecond)
    upkeepFrames = Allowance(
      burst: limits.upkeepFrameBurstMax, perSecond: limits.upkeepFramesPerSecond)
    windowFrames = Allowance(
      burst: limits.windowFrameBurstMax, perSecond: limits.windowFramesPerSecond)
  }

  deinit { hold(0) }

  /// These bytes have come next. `now` is on `Clock`. Returns what the client must lose the
  /// connection for.
  package func received(_ bytes: UnsafeRawBufferPointer, now: UInt64) -> Offence? {
    var rest = bytes[...]
    while let piece = reader.next(from: &rest) {
      switch piece {
      case .head(let frame):
        if let offence = began(frame, now) { return offence }
      case .payload(let frame, let bytes):
        // Whatever else comes on a stream whose last frame this is, C-core does not keep.
        guard frame.kind == FrameReader.Head.data, !frame.endsStream else { continue }
        messages.received(bytes, on: frame.stream)
      }
    }
    hold(messages.held)
    return holdsTooMuch ? .messages : nil
  }

  private func began(_ frame: FrameReader.Head, _ now: UInt64) -> Offence? {
    switch frame.kind {
    case FrameReader.Head.headers, FrameReader.Head.continuation:
      return headersBegan(frame, now)
    case FrameReader.Head.resetStream:
      messages.ended(frame.stream)
      guard ages.isYoung(frame.stream, now: now) else { break }
      return earlyResets.take(now: now) ? nil : .resets
    case FrameReader.Head.data where frame.endsStream:
      messages.ended(frame.stream)
      return nil
    case FrameReader.Head.data where frame.size > 0: return nil
    case FrameReader.Head.windowUpdate:
      return windowFrames.take(now: now) ? nil : .windows
    case FrameReader.Head.settings where frame.isAcknowledgement: knowsSettings = true
    default: break
    }
    return upkeepFrames.take(now: now) ? nil : .upkeep
  }

  private func headersBegan(_ frame: FrameReader.Head, _ now: UInt64) -> Offence? {
    if frame.kind == FrameReader.Head.headers {
      if frame.endsStream { messages.ended(frame.stream) }
      if frame.stream > ages.last {
        ages.began(frame.stream, now: now)
        // C-core counts only when the client has acknowledged the limit.
        if !knowsSettings { earlyStreamCount += 1 }
      }
    }
    headerBytes += FrameReader.headBytes + frame.size
    guard headerBytes <= limits.headerFrameBytesMax else { return .headers }
    if frame.endsHeaders { headerBytes = 0 }
    return earlyStreamCount > limits.concurrentStreamsMax ? .streams : nil
  }

  private func hold(_ bytes: Int) {
    guard bytes != heldBytes else { return }
    total.heldBytes.add(bytes - heldBytes, ordering: .relaxed)
    if heldBytes == 0 { total.holderCount.add(1, ordering: .relaxed) }
    if bytes == 0 { total.holderCount.subtract(1, ordering: .relaxed) }
    heldBytes = bytes
  }

  /// Whether all connections hold too much, and this one at least its share.
  private var holdsTooMuch: Bool {
    guard heldBytes > 0 else { return false }
    let all = total.heldBytes.load(ordering: .relaxed)
    let holders = max(1, total.holderCount.load(ordering: .relaxed))
    return all > limits.unfinishedBytesMax && heldBytes >= all / holders
  }
}
