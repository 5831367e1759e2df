// SPDX-License-Identifier: Apache-2.0

/// Which streams of a connection are young, told by their numbers, which rise: two marks on the way
/// are enough, whatever the number of streams.
struct StreamAges {
  let youth: UInt64
  /// The youngest stream.
  private(set) var last: UInt32 = 0
  private var lastTime: UInt64 = 0
  /// The youngest one at some time, and at an earlier one; at least `youth` lies between.
  private var mark: UInt32 = 0
  private var markTime: UInt64 = 0
  private var oldMark: UInt32 = 0

  /// Streams are young for so many nanoseconds, or up to twice as long.
  init(youth: UInt64) {
    self.youth = youth
  }

  /// A stream has begun, if its number is higher than all before. `now` is on `Clock`.
  mutating func began(_ stream: UInt32, now: UInt64) {
    if now >= markTime + youth {
      // All are old if the last one is.
      oldMark = now >= lastTime + youth ? last : mark
      mark = last
      markTime = now
    }
    last = stream
    lastTime = now
  }

  func isYoung(_ stream: UInt32, now: UInt64) -> Bool {
    stream > oldMark && now < lastTime + youth
  }
}
