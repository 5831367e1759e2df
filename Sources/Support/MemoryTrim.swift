// SPDX-License-Identifier: Apache-2.0

internal import CLinux

/// Gives memory that was freed back to the system after a burst.
///
/// glibc keeps what a thread has freed for the next time, unless it lies at the end of its heap: a
/// burst of calls, or an attack, would leave the process as large as it was at its worst. Giving
/// back takes about 0.2 s for each gigabyte, in which allocations wait, so it is done only when
/// there is something to gain. Call `tick` now and then, from one thread.
package struct MemoryTrim {
  /// What the process may grow over its smallest size before it is worth a try.
  package static let slackBytes = 32 << 20
  /// The shortest and the longest time between two tries. Memory that is in use stays, and each
  /// try that gained little doubles the time.
  private static let waits: ClosedRange<UInt64> = 3_000_000_000...300_000_000_000

  private var smallestBytes: Int?
  private var wait = Self.waits.lowerBound
  private var nextTry: UInt64 = 0

  package init() {}

  /// Looks at the size of the process, and gives memory back if that seems worth it. Returns the
  /// bytes gained.
  @discardableResult
  package mutating func tick(now: UInt64 = Clock.nowNanoseconds) -> Int {
    guard let before = ProcessMemory.privateBytes() else { return 0 }
    let smallest = min(smallestBytes ?? before, before)
    smallestBytes = smallest
    guard before > smallest + Self.slackBytes, now >= nextTry else { return 0 }
    clinux_trim_memory()
    let after = ProcessMemory.privateBytes() ?? before
    let gained = before - after
    wait = gained > Self.slackBytes / 4 ? Self.waits.lowerBound : wait * 2
    wait = min(wait, Self.waits.upperBound)
    nextTry = now + wait
    return gained
  }
}
