// SPDX-License-Identifier: Apache-2.0

import Engine
import Step
import Synchronization
import TestSupport
import Testing

/// Where tokens are drawn: what a device draws itself leaves its logits there, and changes nothing.
struct DrawingTests {
  /// Sequences of one batch.
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
    {
      $0.temperature = 0
      $0.repetitionPenalty = 1.1
      $0.frequencyPenalty = 1.5
      $0.presencePenalty = -0.25
    },
    {
      $0.logprobs = 20
      $0.logitBias = (10..<30).map { TokenBias(token: $0, bias: Float($0) / 8) }
      $0.repetitionPenalty = 0.8
      $0.presencePenalty = 1
    },
  ]
  private static let all = changes.indices

  private struct Answer: Equatable {
    var tokens: [Int32]
    var logprobs: [TokenLogprobs?]
  }

  private func generate(_ fake: FakeEngine, _ choices: Range<Int> = all) throws -> [Answer] {
    let recorder = Recorder()
    let ids = try choices.map { index in
      var submission = SequenceSubmission.greedy([3, 1, Int32(index)], tokens: 12)
      submission.sampling.temperature = 1
      submission.sampling.seed = UInt64(index)
      Self.changes[index](&submission.sampling)
      return try fake.engine.submit(submission, to: recorder)
    }
    return ids.map { id in
      let outcome = recorder.finished(id)
      return Answer(tokens: outcome.tokens, logprobs: outcome.logprobs)
    }
  }

  @Test(arguments: [FakeEngine.Drawing.largest, .all])
  func `a token is the same whoever draws it`(drawing: FakeEngine.Drawing) throws {
    let plain = try FakeEngine()
    defer { plain.engine.shutdown() }
    let expected = try generate(plain)
    #expect(Set(expected.map(\.tokens)).count == Self.all.count)
    let fake = try FakeEngine(drawing: drawing)
    defer { fake.engine.shutdown() }
    #expect(try generate(fake) == expected)
    let drawn = drawing == .all ? Self.all.count : 1
    #expect(fake.script.drawCount.load(ordering: .relaxed) == drawn * 12)
    #expect(fake.script.readCount.load(ordering: .relaxed) == (Self.all.count - drawn) * 12)
  }

  @Test func `stop tokens are masked and then not any more`() throws {
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
    #expect(fake.script.readCount.load(ordering: .relaxed) == 0)
    #expect(fake.script.drawCount.load(ordering: .relaxed) == tokens.count)
  }
}
