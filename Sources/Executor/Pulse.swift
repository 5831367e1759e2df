// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// Signs of life of an executor: written by its thread, read by any.
final class Pulse: Sendable {
  private let name: String
  private let stepCount = Atomic<UInt64>(0)
  private let isBusy = Atomic<Bool>(false)
  private let lastBeat = Atomic<UInt64>(Clock.nowNanoseconds)
  /// Set once each: when the device is loaded, and when it fails.
  private let words = Mutex((device: "", failure: String?.none))

  init(name: String) { self.name = name }

  func beginStep() {
    lastBeat.store(Clock.nowNanoseconds, ordering: .relaxed)
    isBusy.store(true, ordering: .releasing)
  }

  /// Counts a step, if one has begun. Returns the time on `Clock`.
  @discardableResult
  func endStep() -> UInt64 {
    let now = Clock.nowNanoseconds
    guard isBusy.load(ordering: .relaxed) else { return now }
    stepCount.add(1, ordering: .relaxed)
    lastBeat.store(now, ordering: .relaxed)
    isBusy.store(false, ordering: .releasing)
    return now
  }

  func loaded(device: String) { words.withLock { $0.device = device } }

  func failed(_ message: String) { words.withLock { $0.failure = message } }

  var health: ExecutorHealth {
    let (device, failure) = words.withLock { $0 }
    // Whether there is a step before when it began: read the other way round, a step that begins
    // in between would seem as old as the idle time before it.
    let isBusy = isBusy.load(ordering: .acquiring)
    let (last, now) = (lastBeat.load(ordering: .relaxed), Clock.nowNanoseconds)
    return ExecutorHealth(
      name: name, device: device, stepCount: stepCount.load(ordering: .relaxed), isBusy: isBusy,
      heartbeatAge: now > last ? now - last : 0, failure: failure)
  }
}
