// SPDX-License-Identifier: Apache-2.0

/// Hears of the end of a step where it ended.
package protocol StepObserver: AnyObject, Sendable {
  /// A step that was dispatched with this observer is among the results. Called on the thread of
  /// the executor, which then takes its next step: what is dispatched here costs no thread switch.
  func stepEnded()
}
