// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Time since an arbitrary start, never set back. Safe from any thread.
package enum Clock {
  /// Nanoseconds on the monotonic clock.
  package static var nowNanoseconds: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
