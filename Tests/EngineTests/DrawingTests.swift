// SPDX-License-Identifier: Apache-2.0

import Engine
import Step
import Synchronization
import TestSupport
import Testing

/// Where tokens are drawn: what a device draws itself leaves its logits there, and changes nothing.
struct DrawingTests {
  /// Sequences of one batch, the first of which are drawn as they come; the others take logits.
  private static let changes: [@Sendable (inout SamplingParameters) -> Void] = [
    { $0.temperature = 0 },
    { $0.temperature = 0.7 },
    {
      $0.topK = 9
      $0.topP = 0.8
    },
    { $0.minP = 0.3 },
    { $0.logprobs = 1 },
    { $0.repetitionPenalty = 1.3 },
    { $0.logitBias = [TokenBias(token: 5, bias: 1)] },
  ]

  private func generate(_ fake: FakeEngine, _ choices: Range<Int>) throws -> [[Int32]] {
    let recorder = Recorder()
    let ids = try choices.map { index in
      var submission = SequenceSubmission.greedy([3, 1, Int32(index)], tokens: 12)
      submission.sampling.temperature = 1
      submission.sampling.seed = UInt64(index)
      Self.changes[index](&submission.sampling)
      return try fake.engine.submit(submission, to: recorder)
    }
    return ids.map { recorder.finished($0).tokens }
  }

  @Test(arguments: [FakeEngine.Drawing.largest, .all])
  func `a token is the same whoever draws it`(drawing: FakeEngine.Drawing) throws {
    let all = Self.changes.indices
    let plain = try FakeEngine()
    defer { plain.engine.shutdown() }
    let expected = try generate(plain, all)
    #expect(Set(expected).count == all.count)
    let fake = try FakeEngine(drawing: drawing)
    defer { fake.engine.shutdown() }
    #expect(try generate(fake, all) == expected)
    let drawn = drawing == .all ? 4 : 1
    #expect(fake.script.drawCount.load(ordering: .relaxed) == drawn * 12)
    #expect(fake.script.readCount.load(ordering: .relaxed) == (all.count - drawn) * 12)
  }

  @Test func `logits stay where they are while a device draws`() throws {
    let fake = try FakeEngine(drawing: .all)
    defer { fake.engine.shutdown() }
    _ = try generate(fake, 0..<4)
    #expect(fake.script.readCount.load(ordering: .relaxed) == 0)
    _ = try generate(fake, 4..<7)
    #expect(fake.script.readCount.load(ordering: .relaxed) == 3 * 12)
    #expect(fake.script.drawCount.load(ordering: .relaxed) == 4 * 12)
  }

  @Test func `stop tokens are masked on the host and then not any more`() throws {
    func generate(_ drawing: FakeEngine.Drawing) throws -> ([Int32], FakeEngine) {
      let fake = try FakeEngine(drawing: drawing)
      let recorder = Recorder()
      var submission = SequenceSubmission.greedy([9, 9], tokens: 40)
      submission.sampling.temperature = 2
      submission.stopping.minTokens = 5
      submission.stopping.stopTokens = (0..<32).map { $0 }
      return (recorder.finished(try fake.engine.submit(submission, to: recorder)).tokens, fake)
    }
    let (expected, plain) = try generate(.none)
    let (tokens, fake) = try generate(.all)
    defer {
      plain.engine.shutdown()
      fake.engine.shutdown()
    }
    #expect(tokens == expected)
    #expect(fake.script.readCount.load(ordering: .relaxed) == 5)
    #expect(fake.script.drawCount.load(ordering: .relaxed) > 0)
  }
}
