// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// How long messages take from what caused them, such as the end of a step, until C-core has them.
/// Written by one poller, read by any thread.
final class HandOverLatency: Sendable {
  private let histogram = Mutex(LatencyHistogram())

  /// A message has been posted; `cause` is a time on `Clock`, 0 if it is not measured.
  func notePosted(cause: UInt64) {
    guard cause != 0 else { return }
    let now = Clock.nowNanoseconds
    histogram.withLock { $0.add(now > cause ? now - cause : 0) }
  }

  var value: LatencyHistogram { histogram.withLock { $0 } }
}
