// SPDX-License-Identifier: Apache-2.0

internal import Step

/// How many generations a tenant may begin.
package struct TenantLimits: Hashable, Sendable {
  /// On average; nil: as many as it likes.
  package var perMinute: Int?
  /// Of those, how many may come at once after a quiet time; as many as in a minute if nil.
  package var burst: Int?
  /// Generations that run or wait at the same time; nil: as many as it likes.
  package var atOnce: Int?

  package init(perMinute: Int? = nil, burst: Int? = nil, atOnce: Int? = nil) {
    self.perMinute = perMinute
    self.burst = burst
    self.atOnce = atOnce
  }
}

/// A rate with bursts, as the "generic cell rate algorithm" keeps it: one time, of the moment at
/// which the next generation would be due if they came evenly.
struct RateLimit {
  private var due: Nanoseconds = 0

  /// Takes one generation; returns nil, or after how long there is room for it.
  mutating func take(_ limits: TenantLimits, now: Nanoseconds) -> Nanoseconds? {
    guard let perMinute = limits.perMinute else { return nil }
    let interval = 60_000_000_000 / UInt64(max(1, perMinute))
    let ahead = interval * UInt64(max(1, limits.burst ?? perMinute) - 1)
    let next = max(due, now)
    guard next <= now + ahead else { return next - now - ahead }
    due = next + interval
    return nil
  }
}
