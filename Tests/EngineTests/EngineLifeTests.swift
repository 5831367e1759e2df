// SPDX-License-Identifier: Apache-2.0

import Engine
import Executor
import Glibc
import Step
import Support
import Synchronization
import Testing

/// Starting, failing and ending.
struct EngineLifeTests {
  @Test func aDeviceThatCannotLoadIsAnErrorOfStart() throws {
    let script = FakeDevice.Script()
    script.failsToLoad.store(true, ordering: .relaxed)
    let error = #expect(throws: EngineError.self) { try FakeEngine(script: script) }
    #expect(error?.code == .resourceExhausted)
    #expect(error?.message == "the fake has no memory")
    #expect(script.deviceCount.load(ordering: .relaxed) == 0)
  }

  @Test func configurationsThatCannotBeAreErrorsOfStart() {
    func message(_ configure: (inout EngineConfiguration) -> Void) -> String? {
      #expect(throws: EngineError.self) { try FakeEngine(configure) }?.message
    }
    #expect(
      message { $0.stages = 2 }
        == "stages is 2; expected 1 to 1, the number of layers of fake")
    #expect(message { $0.batchMax = 0 } == "max_batch is 0; expected 1 or more")
    #expect(
      message { $0.kvMemoryBytes = 100 }
        == "kv_memory is 100 bytes; expected at least 128, a block of 4 tokens on each of 1 "
        + "context slices")
  }

  @Test func aFailingDeviceEndsItsSequencesAndNothingHangs() throws {
    let fake = try FakeEngine { $0.batchMax = 4 }
    fake.script.failingStep.store(6, ordering: .relaxed)
    // Until all are in: after the failure none is taken.
    fake.script.isHeld.store(true, ordering: .relaxed)
    let recorder = Recorder()
    let ids = try (0..<10).map {
      try fake.engine.submit(.greedy([Int32($0), 5], tokens: 50), to: recorder)
    }
    fake.script.isHeld.store(false, ordering: .relaxed)
    for id in ids {
      let outcome = recorder.finished(id)
      guard case .failed(let error) = outcome.reasons.first, outcome.reasons.count == 1 else {
        Issue.record("\(id) ended with \(outcome.reasons)")
        continue
      }
      #expect(error.code == .unavailable)
      #expect(error.message == "a device failed: the fake broke")
    }
    let load = fake.engine.load()
    #expect(load.failure == "a device failed: the fake broke" && !load.isAccepting)
    #expect(load.executors.map(\.failure) == ["the fake broke"])
    #expect(load.kvBlocksUsed == 0)
    let error = #expect(throws: EngineError.self) {
      try fake.engine.submit(.greedy([1], tokens: 1), to: recorder)
    }
    #expect(error?.code == .unavailable)
    #expect(fake.script.stepCount.load(ordering: .relaxed) == 6)
    fake.engine.shutdown()
  }

  @Test func shutdownWithWorkRunningEndsEveryThingOnce() throws {
    let fake = try FakeEngine { $0.batchMax = 4 }
    fake.script.stepMicroseconds.store(500, ordering: .relaxed)
    let recorder = Recorder()
    let ids = try (0..<12).map {
      try fake.engine.submit(.greedy([Int32($0)], tokens: 400), to: recorder)
    }
    waitUntil { !recorder.outcome(ids[0]).tokens.isEmpty }
    fake.engine.shutdown()
    for id in ids {
      guard case .failed(let error) = recorder.outcome(id).reasons.first else {
        Issue.record("\(id) ended with \(recorder.outcome(id).reasons)")
        continue
      }
      #expect(recorder.outcome(id).reasons.count == 1 && error.code == .unavailable)
    }
    #expect(fake.engine.load().kvBlocksUsed == 0)
    #expect(fake.script.deviceCount.load(ordering: .relaxed) == 0)
    fake.engine.shutdown()
    fake.engine.cancel(ids[0])
    #expect(throws: EngineError.self) {
      try fake.engine.submit(.greedy([1], tokens: 1), to: recorder)
    }
  }

  @Test func aDeviceThatNeverComesBackIsLeftBehind() throws {
    let fake = try FakeEngine()
    fake.script.isHeld.store(true, ordering: .relaxed)
    let recorder = Recorder()
    let id = try fake.engine.submit(.greedy([1], tokens: 4), to: recorder)
    waitUntil { fake.engine.load().executors[0].isBusy }
    usleep(20_000)
    #expect(fake.engine.load().oldestStepAge > 10_000_000)
    fake.engine.shutdown(grace: 50_000_000)
    guard case .failed = recorder.outcome(id).reasons.first else {
      Issue.record("it ended with \(recorder.outcome(id).reasons)")
      return
    }
    fake.script.isHeld.store(false, ordering: .relaxed)
    #expect(waitUntil { fake.script.deviceCount.load(ordering: .relaxed) == 0 })
  }

  @Test func anIdleEngineGoesRoundAndHasNothingToStall() throws {
    let fake = try FakeEngine()
    usleep(1_600_000)
    let load = fake.engine.load()
    #expect(load.heartbeatAge < 1_000_000_000)
    #expect(load.stallAge == 0)
    fake.engine.shutdown()
  }

  @Test func workWithoutStepsIsAStallThatEndsWithTheNextStep() throws {
    let fake = try FakeEngine()
    fake.script.isHeld.store(true, ordering: .relaxed)
    let recorder = Recorder()
    let id = try fake.engine.submit(.greedy([1], tokens: 4), to: recorder)
    waitUntil { fake.engine.load().stallAge > 300_000_000 }
    #expect(fake.engine.load().stallAge > 300_000_000)
    fake.script.isHeld.store(false, ordering: .relaxed)
    #expect(waitUntil { recorder.outcome(id).reasons.count == 1 })
    #expect(waitUntil { fake.engine.load().stallAge == 0 })
    fake.engine.shutdown()
  }

  @Test func aLoneDevicesThreadTellsWhatItsStepHasMade() throws {
    let fake = try FakeEngine()
    fake.script.stepMicroseconds.store(500, ordering: .relaxed)
    let reader = Reader()
    try fake.engine.submit(.greedy([1, 2], tokens: 40), to: reader)
    #expect(waitUntil { reader.hasEnded.load(ordering: .acquiring) })
    // The engine's own thread may be in its turn at the end of a step or two.
    #expect(reader.turnsOfExecutor.load(ordering: .relaxed) > 20)
    fake.engine.shutdown()
  }

  @Test func theRestOfAStepIsSampledWhileAReaderWritesWhatItGot() throws {
    let fake = try FakeEngine()
    fake.script.stepMicroseconds.store(500, ordering: .relaxed)
    let reader = PortionReader()
    let ids = try (0..<8).map { number in
      try fake.engine.submit(.greedy([1, Int32(number)], tokens: 40), to: reader)
    }
    #expect(fake.engine.drain())
    for (number, id) in ids.enumerated() {
      let outcome = reader.recorder.outcome(id)
      #expect(outcome.tokens == FakeDevice.generate([1, Int32(number)], count: 40))
    }
    fake.engine.shutdown()
    let rests = reader.deliveries.withLock { $0.filter(\.isRest) }
    // The engine's own thread may be in its turn at the end of a step or two.
    #expect(rests.count > 20)
    // Four sequences, then five; an end is an event of its own.
    #expect(rests.allSatisfy { $0.count <= 2 * 5 })
  }

  @Test func drainingLetsSequencesFinishAndTakesNoMore() throws {
    let fake = try FakeEngine()
    fake.script.stepMicroseconds.store(200, ordering: .relaxed)
    let recorder = Recorder()
    let id = try fake.engine.submit(.greedy([1, 2], tokens: 40), to: recorder)
    #expect(fake.engine.drain(until: Clock.nowNanoseconds + 1_000_000) == false)
    #expect(throws: EngineError.self) {
      try fake.engine.submit(.greedy([1], tokens: 1), to: recorder)
    }
    #expect(fake.engine.drain())
    #expect(recorder.outcome(id).tokens == FakeDevice.generate([1, 2], count: 40))
    fake.engine.shutdown()
  }
}

/// Counts how often it may read on the thread of an executor.
private final class Reader: SequenceSink {
  let hasEnded = Atomic<Bool>(false)
  let turnsOfExecutor = Atomic<Int>(0)

  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds) {
    if case .finished = events.last { hasEnded.store(true, ordering: .releasing) }
  }

  func wakeReaderOrRead(_ more: () -> Bool) -> Bool {
    turnsOfExecutor.add(1, ordering: .relaxed)
    while more() {}
    return true
  }
}

/// Reads on the thread of an executor, and notes how many events came at once.
private final class PortionReader: SequenceSink {
  let recorder = Recorder()
  let deliveries = Mutex<[(count: Int, isRest: Bool)]>([])
  private let isReading = Mutex(false)

  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds) {
    let isRest = isReading.withLock { $0 }
    deliveries.withLock { $0.append((events.count, isRest)) }
    recorder.deliver(events, stepEnd: stepEnd)
  }

  func wakeReaderOrRead(_ more: () -> Bool) -> Bool {
    isReading.withLock { $0 = true }
    while more() {}
    isReading.withLock { $0 = false }
    return true
  }
}
