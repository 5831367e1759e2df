// SPDX-License-Identifier: Apache-2.0

/// So many at once, and so many a second for ever.
struct Allowance {
  let burst: Int
  let perSecond: Int
  private var used = 0.0
  private var time: UInt64 = 0

  init(burst: Int, perSecond: Int) {
    self.burst = burst
    self.perSecond = perSecond
  }

  /// Takes one; returns false if there is none left. `now` is on `Clock`.
  mutating func take(now: UInt64) -> Bool {
    let seconds = Double(now - min(now, time)) / 1e9
    time = now
    used = max(0, used - seconds * Double(perSecond)) + 1
    return used <= Double(burst)
  }
}
