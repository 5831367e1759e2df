// SPDX-License-Identifier: Apache-2.0

internal import Support

/// The last frames that were sent of a generation that can be resumed, as bytes without the number
/// of the generation, which is another on another stream. Bounded in bytes; the oldest go first.
struct ReplayRing {
  /// What a frame takes beside its bytes.
  private static let frameOverhead = 64

  private let byteCountMax: Int
  private var frames = FIFO<[UInt8]>()
  private var byteCount = 0
  /// The number of the frame that was appended last; they count from 1.
  private(set) var lastNumber: UInt64 = 0

  init(byteCountMax: Int) { self.byteCountMax = byteCountMax }

  /// The number of the oldest frame that is kept; `lastNumber + 1` if there is none.
  var firstNumber: UInt64 { lastNumber + 1 - UInt64(frames.count) }

  mutating func append(_ frame: [UInt8]) {
    frames.append(frame)
    lastNumber += 1
    byteCount += frame.count + Self.frameOverhead
    while byteCount > byteCountMax, let oldest = frames.popFirst() {
      byteCount -= oldest.count + Self.frameOverhead
    }
  }

  /// A frame by its number, which must be kept.
  subscript(number: UInt64) -> [UInt8] { frames[Int(number - firstNumber)] }
}
