// SPDX-License-Identifier: Apache-2.0

internal import CLinux

/// Gives memory that was freed back to the system after a burst.
///
/// glibc keeps what a thread has freed for the next time, unless it lies at the end of its heap: a
/// burst of calls, or an attack, would leave the process as large as it was at its worst. Giving
/// back takes about 0.2 s for each gigabyte, in which allocations wait, so it is done only when
/// there is something to gain. Call `tick` now and then, from one thread.
package struct MemoryTrim {
  /// What may be idle beyond the least that ever was before it is worth a try.
  package static let slackBytes = 32 << 20
  /// The shortest and the longest time between two tries while nothing more becomes idle. What lies
  /// between memory in use stays, and each try that gained little doubles the time.
  package static let waits: ClosedRange<UInt64> = 3_000_000_000...300_000_000_000

  private var leastBytes: Int?
  private var wait = Self.waits.lowerBound
  private var lastTry: UInt64?
  /// What was idle when the last try was over.
  private var leftBytes = 0

  package init() {}

  /// Looks at what is idle in the process, and gives it back if that seems worth it. Returns the
  /// bytes gained.
  @discardableResult
  package mutating func tick(now: UInt64 = Clock.nowNanoseconds) -> Int {
    guard let idle = ProcessMemory.idleBytes() else { return 0 }
    let least = min(leastBytes ?? idle, idle)
    leastBytes = least
    guard idle > least + Self.slackBytes, isTime(now, idle: idle) else { return 0 }
    clinux_trim_memory()
    leftBytes = ProcessMemory.idleBytes() ?? idle
    let gained = idle - leftBytes
    wait = gained > Self.slackBytes / 4 ? Self.waits.lowerBound : wait * 2
    wait = min(wait, Self.waits.upperBound)
    lastTry = now
    return gained
  }

  /// A burst that ended since the last try is a reason for the next one.
  private func isTime(_ now: UInt64, idle: Int) -> Bool {
    guard let lastTry else { return true }
    let isMore = idle > leftBytes + Self.slackBytes
    return now >= lastTry + (isMore ? Self.waits.lowerBound : wait)
  }
}
