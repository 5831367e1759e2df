// SPDX-License-Identifier: Apache-2.0

internal import CGRPC

/// Deadlines are nanoseconds on `Support.Clock`, which is the clock that C-core calls monotonic.
enum Deadline {
  static func timespec(_ nanoseconds: UInt64?) -> gpr_timespec {
    guard let nanoseconds else { return gpr_inf_future(GPR_CLOCK_MONOTONIC) }
    return gpr_timespec(
      tv_sec: Int64(nanoseconds / 1_000_000_000), tv_nsec: Int32(nanoseconds % 1_000_000_000),
      clock_type: GPR_CLOCK_MONOTONIC)
  }

  /// nil if the call has no deadline.
  static func nanoseconds(_ time: gpr_timespec) -> UInt64? {
    guard gpr_time_cmp(time, gpr_inf_future(time.clock_type)) != 0 else { return nil }
    let monotonic = gpr_convert_clock_type(time, GPR_CLOCK_MONOTONIC)
    guard monotonic.tv_sec >= 0 else { return 0 }
    return UInt64(monotonic.tv_sec) * 1_000_000_000 + UInt64(monotonic.tv_nsec)
  }
}
