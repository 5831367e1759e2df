// SPDX-License-Identifier: Apache-2.0

import Engine
import Executor
import Glibc
import Step
import Support
import Synchronization
import TestSupport
import Testing

/// Sequences through an engine on fake devices: what every caller relies on.
struct EngineTests {
  private func prompt(_ seed: UInt64, count: Int) -> [Int32] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { _ in Int32.random(in: 0..<64, using: &random) }
  }

  @Test func aSequenceGetsItsTokensInOrderAndEndsOnce() throws {
    let engine = try FakeEngine { $0.rowCountMax = 8 }.engine
    defer { engine.shutdown() }
    let recorder = Recorder()
    let prompt = prompt(1, count: 21)
    let id = try engine.submit(.greedy(prompt, tokens: 30), to: recorder)
    let outcome = recorder.finished(id)
    #expect(outcome.tokens == FakeDevice.generate(prompt, count: 30))
    #expect(outcome.reasons == [.length])
    #expect(outcome.prefilled == [8, 16])
    #expect(outcome.account.promptTokens == 21 && outcome.account.generatedTokens == 30)
    #expect(recorder.isInOrder)
  }

  @Test func sequencesDoNotDependOnWhatElseRuns() throws {
    for (batch, rows, blocks) in [(1, 7, 400), (8, 32, 400), (8, 5, 60), (3, 256, 40)] {
      let fake = try FakeEngine {
        $0.batchMax = batch
        $0.rowCountMax = rows
        $0.kvMemoryBytes = FakeEngine.blockBytes(blocks)
      }
      let recorder = Recorder()
      let prompts = (0..<20).map { prompt(UInt64($0 / 2), count: 3 + 5 * $0) }
      let ids = try prompts.map { try fake.engine.submit(.greedy($0, tokens: 25), to: recorder) }
      for (id, prompt) in zip(ids, prompts) {
        #expect(recorder.finished(id).tokens == FakeDevice.generate(prompt, count: 25))
      }
      #expect(recorder.isInOrder)
      #expect(fake.script.rowCountMax.load(ordering: .relaxed) <= rows)
      waitUntil { fake.engine.load().kvBlocksUsed == 0 }
      #expect(fake.engine.load().kvBlocksUsed == 0)
      fake.engine.shutdown()
    }
  }

  @Test func equalPromptsShareTheirBlocks() throws {
    let engine = try FakeEngine().engine
    defer { engine.shutdown() }
    let recorder = Recorder()
    let prompt = prompt(3, count: 41)
    let first = recorder.finished(try engine.submit(.greedy(prompt, tokens: 5), to: recorder))
    let second = recorder.finished(try engine.submit(.greedy(prompt, tokens: 5), to: recorder))
    #expect(first.account.cachedTokens == 0 && second.account.cachedTokens == 40)
    #expect(first.tokens == second.tokens)
  }

  @Test func choicesComeTogetherOrNotAtAll() throws {
    let fake = try FakeEngine {
      $0.batchMax = 1
      $0.waitingSequencesMax = 3
    }
    defer { fake.engine.shutdown() }
    fake.script.isHeld.store(true, ordering: .relaxed)
    let recorder = Recorder()
    let submission = SequenceSubmission.greedy(prompt(4, count: 6), tokens: 3)
    let choices = (0..<2).map { _ in (id: fake.engine.makeID(), submission: submission) }
    try fake.engine.submit(choices: choices, to: recorder)
    let more = (0..<2).map { _ in (id: fake.engine.makeID(), submission: submission) }
    #expect(throws: EngineError.self) { try fake.engine.submit(choices: more, to: recorder) }
    fake.script.isHeld.store(false, ordering: .relaxed)
    for choice in choices { #expect(recorder.finished(choice.id).tokens.count == 3) }
    for choice in more { #expect(recorder.outcome(choice.id).reasons.isEmpty) }
  }

  @Test func cancellingFreesBlocksAndEndsWithItsReason() throws {
    let fake = try FakeEngine()
    defer { fake.engine.shutdown() }
    let recorder = Recorder()
    fake.script.stepMicroseconds.store(300, ordering: .relaxed)
    let prompt = prompt(5, count: 30)
    let stays = try fake.engine.submit(.greedy(prompt, tokens: 60), to: recorder)
    let goes = try fake.engine.submit(.greedy(self.prompt(6, count: 30), tokens: 400), to: recorder)
    waitUntil { recorder.outcome(goes).tokens.count >= 3 }
    fake.engine.cancel(goes)
    fake.engine.cancel(goes)
    #expect(recorder.finished(goes).reasons == [.cancelled])
    #expect(recorder.finished(goes).account.generatedTokens == recorder.outcome(goes).tokens.count)
    let blocks = fake.engine.load().kvBlocksUsed
    #expect(blocks <= (30 + 60) / 4 + 1)
    #expect(recorder.finished(stays).tokens == FakeDevice.generate(prompt, count: 60))
    fake.engine.cancel(stays)
    #expect(fake.engine.load().running == 0)
    waitUntil { fake.engine.load().kvBlocksUsed == 0 }
    #expect(fake.engine.load().kvBlocksUsed == 0)
  }

  @Test func cancellingInTheQueueEndsWithoutATokenAndMakesRoom() throws {
    let fake = try FakeEngine {
      $0.batchMax = 1
      $0.waitingSequencesMax = 2
    }
    defer { fake.engine.shutdown() }
    fake.script.isHeld.store(true, ordering: .relaxed)
    let recorder = Recorder()
    let submission = SequenceSubmission.greedy(prompt(7, count: 5), tokens: 2)
    let first = try fake.engine.submit(submission, to: recorder)
    let second = try fake.engine.submit(submission, to: recorder)
    #expect(throws: EngineError.self) { try fake.engine.submit(submission, to: recorder) }
    fake.engine.cancel(second)
    #expect(recorder.finished(second).reasons == [.cancelled])
    #expect(recorder.outcome(second).tokens.isEmpty)
    let third = try fake.engine.submit(submission, to: recorder)
    fake.script.isHeld.store(false, ordering: .relaxed)
    #expect(recorder.finished(first).reasons == [.length])
    #expect(recorder.finished(third).reasons == [.length])
  }

  @Test func aFullQueueIsRefusedAtOnceWithADelay() throws {
    let fake = try FakeEngine {
      $0.batchMax = 1
      $0.waitingSequencesMax = 4
      $0.waitingPromptTokensMax = 100
    }
    fake.script.isHeld.store(true, ordering: .relaxed)
    let recorder = Recorder()
    var ids: [SequenceID] = []
    var refusal: EngineError?
    while ids.count < 100, refusal == nil {
      do {
        ids.append(try fake.engine.submit(.greedy([1, 2, 3], tokens: 2), to: recorder))
      } catch {
        refusal = error
      }
    }
    #expect(ids.count == 4)
    #expect(refusal?.code == .resourceExhausted)
    #expect(refusal?.message == "the waiting queue is full: it holds 4 sequences of at most 4")
    #expect((refusal?.retryDelay ?? 0) > 0)
    fake.script.isHeld.store(false, ordering: .relaxed)
    for id in ids { #expect(recorder.finished(id).reasons == [.length]) }
    // One request may be larger than the limit, when nothing waits.
    let large = try fake.engine.submit(.greedy(prompt(8, count: 200), tokens: 2), to: recorder)
    #expect(recorder.finished(large).reasons == [.length])
    fake.engine.shutdown()
  }

  @Test func memoryHoldsMoreTokensThatTakeFewerBytes() throws {
    for (tokenBytes, count) in [(nil, 8), (32, 8), (16, 16), (17, 15)] {
      let engine = try FakeEngine {
        $0.kvMemoryBytes = FakeEngine.blockBytes(8)
        $0.cacheBytesPerToken = tokenBytes
      }.engine
      #expect(engine.load().kvBlockCount == count)
      engine.shutdown()
    }
  }

  @Test func badRequestsAreRefusedAtTheDoor() throws {
    let engine = try FakeEngine(contextLength: 64) { $0.kvMemoryBytes = FakeEngine.blockBytes(8) }
      .engine
    defer { engine.shutdown() }
    func refusal(_ change: (inout SequenceSubmission) -> Void) -> EngineError? {
      var submission = SequenceSubmission.greedy([1, 2, 3], tokens: 4)
      change(&submission)
      return #expect(throws: EngineError.self) { try engine.submit(submission, to: Recorder()) }
    }
    let refusals = [
      refusal { $0.prompt = [] }, refusal { $0.prompt = [1, 64] }, refusal { $0.prompt = [-1] },
      refusal { $0.prompt = Array(repeating: 1, count: 64) },
      refusal { $0.prompt = Array(repeating: 1, count: 33) }, refusal { $0.sampling.topP = 1.5 },
      refusal { $0.stopping.maxTokens = 40 }, refusal { $0.stopping.stopTokens = [99] },
    ]
    #expect(refusals.allSatisfy { $0?.code == .invalidArgument })
    #expect(refusals[5]?.message == "top_p is 1.5; expected over 0, to 1")
    #expect(throws: EngineError.self) { try engine.logits(of: [1, 99]) }
    #expect(engine.load().waiting == 0)
  }

  @Test func deadlinesEndSequencesWithWhatTheyHave() throws {
    let fake = try FakeEngine()
    defer { fake.engine.shutdown() }
    fake.script.stepMicroseconds.store(1000, ordering: .relaxed)
    let recorder = Recorder()
    var submission = SequenceSubmission.greedy([1, 2, 3], tokens: 500)
    submission.deadline = Clock.nowNanoseconds + 50_000_000
    let outcome = recorder.finished(try fake.engine.submit(submission, to: recorder))
    #expect(outcome.reasons == [.deadline])
    #expect(outcome.tokens.count < 500)
  }

  @Test func logitsOfAllPositionsComeInChunks() throws {
    for (rows, outputs) in [(256, 32), (5, 32), (256, 3)] {
      let engine = try FakeEngine {
        $0.rowCountMax = rows
        $0.batchMax = 2
        $0.outputCountMax = outputs
      }.engine
      let tokens = prompt(9, count: 37)
      // Twice: computed prefixes must not be skipped.
      for _ in 0..<2 {
        let logits = try engine.logits(of: tokens)
        #expect(logits.count == 37 * 64)
        for position in 0..<37 {
          let row = logits[position * 64..<(position + 1) * 64]
          let expected = FakeDevice.next(after: tokens[...position])
          #expect(row[row.startIndex + Int(expected)] == 1 && row.reduce(0, +) == 1)
        }
      }
      engine.shutdown()
    }
  }

  @Test func manyThreadsMaySubmitAndCancel() throws {
    let fake = try FakeEngine { $0.waitingSequencesMax = 10_000 }
    let recorder = Recorder()
    let threads = (0..<6).map { thread in
      PinnedThread(name: "client-\(thread)") {
        for index in 0..<50 {
          let prompt = [Int32(thread), Int32(index)]
          guard let id = try? fake.engine.submit(.greedy(prompt, tokens: 8), to: recorder) else {
            Issue.record("submission was refused")
            return
          }
          if index % 3 == 0 { fake.engine.cancel(id) }
        }
      }
    }
    for thread in threads { thread.join() }
    waitUntil { recorder.finishedCount == 300 }
    #expect(recorder.finishedCount == 300)
    #expect(recorder.isInOrder)
    waitUntil { fake.engine.load().kvBlocksUsed == 0 }
    #expect(fake.engine.load().kvBlocksUsed == 0)
    fake.engine.shutdown()
  }

  @Test func anIdleEngineSleeps() throws {
    let engine = try FakeEngine().engine
    defer { engine.shutdown() }
    let recorder = Recorder()
    _ = recorder.finished(try engine.submit(.greedy([1], tokens: 2), to: recorder))
    #expect(waitUntil { engine.load().heartbeatAge > 100_000_000 })
    #expect(engine.load().executors.map(\.isBusy) == [false])
  }
}
