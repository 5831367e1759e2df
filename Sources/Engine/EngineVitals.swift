// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// What the engine's thread tells the others about itself.
final class EngineVitals: Sendable {
  private let running = Atomic<Int>(0)
  private let waiting = Atomic<Int>(0)
  private let paused = Atomic<Int>(0)
  private let kvBlocksUsed = Atomic<Int>(0)
  private let stepCount = Atomic<UInt64>(0)
  private let lastBeat = Atomic<UInt64>(Clock.nowNanoseconds)
  private let lastStep = Atomic<UInt64>(0)
  /// Since when there has been work; 0 while there is none.
  private let workBegan = Atomic<UInt64>(0)
  /// Set once.
  private let failureText = Mutex<String?>(nil)

  func beat(running: Int, waiting: Int, paused: Int, kvBlocksUsed: Int) {
    self.running.store(running, ordering: .relaxed)
    self.waiting.store(waiting, ordering: .relaxed)
    self.paused.store(paused, ordering: .relaxed)
    self.kvBlocksUsed.store(kvBlocksUsed, ordering: .relaxed)
    let now = Clock.nowNanoseconds
    lastBeat.store(now, ordering: .relaxed)
    let hadWork = workBegan.load(ordering: .relaxed) != 0
    let hasWork = running + waiting > 0
    if hasWork != hadWork { workBegan.store(hasWork ? now : 0, ordering: .relaxed) }
  }

  func countStep() {
    stepCount.add(1, ordering: .relaxed)
    lastStep.store(Clock.nowNanoseconds, ordering: .relaxed)
  }

  func fail(_ message: String) { failureText.withLock { $0 = $0 ?? message } }

  var failure: String? { failureText.withLock { $0 } }

  /// All but what executors and gate know.
  var load: EngineLoad {
    var load = EngineLoad()
    load.running = running.load(ordering: .relaxed)
    load.waiting = waiting.load(ordering: .relaxed)
    load.paused = paused.load(ordering: .relaxed)
    load.kvBlocksUsed = kvBlocksUsed.load(ordering: .relaxed)
    load.stepCount = stepCount.load(ordering: .relaxed)
    load.heartbeatAge = Self.age(of: lastBeat.load(ordering: .relaxed))
    let began = workBegan.load(ordering: .relaxed)
    load.stallAge = began == 0 ? 0 : Self.age(of: max(began, lastStep.load(ordering: .relaxed)))
    load.failure = failure
    return load
  }

  private static func age(of moment: UInt64) -> UInt64 {
    let now = Clock.nowNanoseconds
    return now > moment ? now - moment : 0
  }
}
