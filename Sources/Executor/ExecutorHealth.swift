// SPDX-License-Identifier: Apache-2.0

/// A moment's view of an executor, for health checks and metrics.
package struct ExecutorHealth: Hashable, Sendable {
  /// The executor's thread: "exec-0".
  package var name: String
  /// What its device says of itself.
  package var device: String
  /// Steps it has finished.
  package var stepCount: UInt64
  /// Whether a step is on its device now.
  package var isBusy: Bool
  /// Nanoseconds since it last took or finished work; the age of a step while busy.
  package var heartbeatAge: UInt64
  /// Why it takes no more work; nil while it is well.
  package var failure: String?

  package init(
    name: String, device: String, stepCount: UInt64, isBusy: Bool, heartbeatAge: UInt64,
    failure: String?
  ) {
    self.name = name
    self.device = device
    self.stepCount = stepCount
    self.isBusy = isBusy
    self.heartbeatAge = heartbeatAge
    self.failure = failure
  }
}
