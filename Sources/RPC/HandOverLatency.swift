// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// How long messages take from what caused them, such as the end of a step, until C-core is called
/// with them: all that is ours. What its call takes, which for the first of several messages is a
/// write to the connection, is not in it.
/// Written by one poller, read by any thread.
final class HandOverLatency: Sendable {
  private let histogram = Mutex(LatencyHistogram())

  /// A message is about to be posted; `cause` is a time on `Clock`, 0 if it is not measured.
  func noteHandOver(cause: UInt64) {
    guard cause != 0 else { return }
    let now = Clock.nowNanoseconds
    histogram.withLock { $0.add(now > cause ? now - cause : 0) }
  }

  var value: LatencyHistogram { histogram.withLock { $0 } }
}
