// SPDX-License-Identifier: Apache-2.0

package import Step

/// When the steps of a synthetic device end, so that tokens come at the rate that was asked for.
///
/// A step takes the time of one token, and that of the prompt tokens in it. Steps that follow one
/// another are timed from the end of the one before and not from their own start, so that what the
/// rest of the server takes between them does not make the rate lower.
package struct StepPace: Sendable {
  /// Longer than this between two steps, and the device was idle.
  package static let gapMax: Nanoseconds = 2_000_000

  private let tokenTime: Nanoseconds
  private let promptTokenTime: Double
  private var previousEnd: Nanoseconds = 0

  package init(_ configuration: SyntheticConfiguration) {
    tokenTime = configuration.tokenRate.map { Nanoseconds((1e9 / $0).rounded()) } ?? 0
    promptTokenTime = configuration.prefillRate.map { 1e9 / $0 } ?? 0
  }

  /// When a step that starts at `now` ends; nil if nothing is to be waited for.
  package mutating func end(of plan: StepPlan, now: Nanoseconds) -> Nanoseconds? {
    let duration = duration(of: plan)
    guard duration > 0 else { return nil }
    let gap = now - min(now, previousEnd)
    let start = gap <= min(duration, Self.gapMax) ? previousEnd : now
    previousEnd = start + duration
    return previousEnd
  }

  private func duration(of plan: StepPlan) -> Nanoseconds {
    let outputs = plan.outputCount
    let promptTokens = Double(plan.rowCount - min(outputs, plan.rowCount))
    return (outputs > 0 ? tokenTime : 0) + Nanoseconds(promptTokens * promptTokenTime)
  }
}
