// SPDX-License-Identifier: Apache-2.0

package import Engine
package import Step

/// How well a server is, judged from its engine's signs of life and never from traffic. Pure.
///
/// The aspects are kept apart because they ask for different acts: what is not live wants a new
/// process, what is not ready wants no traffic, what makes no progress wants to be looked at.
package struct HealthReport: Hashable, Sendable {
  /// What can be asked for by name.
  package enum Aspect: Hashable, Sendable, CaseIterable {
    /// Whether work should be sent here: ready, and making progress.
    case whole
    case liveness
    case readiness
    case progress
  }

  /// The engine's threads go round, no step is older than the limit, no device has failed for good.
  package var isLive: Bool
  /// Live, and takes new generations.
  package var isReady: Bool
  /// While there is work, steps are finished.
  package var progresses: Bool

  /// - Parameters:
  ///   - isDraining: whether the server has been told to stop.
  ///   - stepTimeMax: what one step of one device may take. A step is one chunk of a prompt at
  ///     most, so that a long prompt is many steps.
  ///   - stageCount: devices that a step goes through, one after the other.
  package init(
    _ load: EngineLoad, isDraining: Bool, stepTimeMax: Nanoseconds, stageCount: Int
  ) {
    isLive =
      load.failure == nil && load.heartbeatAge <= stepTimeMax && load.oldestStepAge <= stepTimeMax
    isReady = isLive && load.isAccepting && !isDraining
    progresses = load.stallAge <= stepTimeMax * UInt64(stageCount)
  }

  package func isServing(_ aspect: Aspect) -> Bool {
    switch aspect {
    case .whole: isReady && progresses
    case .liveness: isLive
    case .readiness: isReady
    case .progress: progresses
    }
  }
}
