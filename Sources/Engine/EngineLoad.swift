// SPDX-License-Identifier: Apache-2.0

package import Executor

/// How busy and how well an engine is: a moment's view.
package struct EngineLoad: Hashable, Sendable {
  /// Sequences in the batch.
  package var running = 0
  /// Sequences that wait for a place in it.
  package var waiting = 0
  /// Sequences that have generated all that they may for now.
  package var paused = 0
  package var kvBlocksUsed = 0
  package var kvBlockCount = 0
  /// Steps that have been finished.
  package var stepCount: UInt64 = 0
  /// Nanoseconds since the engine's loop last went round. It does so twice a second also when there
  /// is nothing to do (`EngineLimits.beatInterval`).
  package var heartbeatAge: UInt64 = 0
  /// Nanoseconds for which there has been work, in the batch or waiting for it, and no step has
  /// been finished; 0 while there is none.
  package var stallAge: UInt64 = 0
  package var executors: [ExecutorHealth] = []
  /// Whether new sequences are taken.
  package var isAccepting = true
  /// Why the engine can run no more sequences; nil while it is well.
  package var failure: String?

  /// Nanoseconds that the oldest step on any device has taken so far; 0 while none has one. A
  /// device that hangs shows here.
  package var oldestStepAge: UInt64 {
    executors.lazy.filter(\.isBusy).map(\.heartbeatAge).max() ?? 0
  }

  package init() {}
}
