// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// What the engine's thread tells the others about itself.
final class EngineVitals: Sendable {
  private let running = Atomic<Int>(0)
  private let waiting = Atomic<Int>(0)
  private let kvBlocksUsed = Atomic<Int>(0)
  private let stepCount = Atomic<UInt64>(0)
  private let lastBeat = Atomic<UInt64>(Clock.nowNanoseconds)
  /// Set once.
  private let failureText = Mutex<String?>(nil)

  func beat(running: Int, waiting: Int, kvBlocksUsed: Int) {
    self.running.store(running, ordering: .relaxed)
    self.waiting.store(waiting, ordering: .relaxed)
    self.kvBlocksUsed.store(kvBlocksUsed, ordering: .relaxed)
    lastBeat.store(Clock.nowNanoseconds, ordering: .relaxed)
  }

  func countStep() { stepCount.add(1, ordering: .relaxed) }

  func fail(_ message: String) { failureText.withLock { $0 = $0 ?? message } }

  var failure: String? { failureText.withLock { $0 } }

  /// All but what executors and gate know.
  var load: EngineLoad {
    var load = EngineLoad()
    load.running = running.load(ordering: .relaxed)
    load.waiting = waiting.load(ordering: .relaxed)
    load.kvBlocksUsed = kvBlocksUsed.load(ordering: .relaxed)
    load.stepCount = stepCount.load(ordering: .relaxed)
    let (last, now) = (lastBeat.load(ordering: .relaxed), Clock.nowNanoseconds)
    load.heartbeatAge = now > last ? now - last : 0
    load.failure = failure
    return load
  }
}
