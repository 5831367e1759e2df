// SPDX-License-Identifier: Apache-2.0

import Sampling
import Step
import TestSupport
import Testing

/// Tokens drawn by who has the logits, as `TokenDraw` says.
@Suite struct DrawTests {
  private static let changes: [@Sendable (inout SamplingParameters) -> Void] = [
    { $0.temperature = 0 }, { $0.temperature = 2 }, { $0.topK = 2 }, { $0.topP = 0.5 },
    { $0.logprobs = 0 }, { $0.repetitionPenalty = 1.5 },
    { $0.logitBias = [TokenBias(token: 2, bias: 2), TokenBias(token: 0, bias: -0.5)] },
    {
      $0.temperature = 0.5
      $0.presencePenalty = 1
      $0.frequencyPenalty = 0.5
      $0.logitBias = [TokenBias(token: 7, bias: 2), TokenBias(token: 1, bias: -0.5)]
      $0.logprobs = 3
    },
    {
      $0.repetitionPenalty = 0.5
      $0.frequencyPenalty = -0.5
      $0.logprobs = 20
      $0.minP = 0.1
    },
  ]

  /// What whoever has the logits does.
  private struct Drawer {
    var workspace = SamplingWorkspace()
    var room = [TokenAdjustment](repeating: TokenAdjustment(token: -1), count: 32)
    var report = LogitReport()
    /// Of the last token.
    var adjustmentCount = 0

    mutating func next(
      _ sampler: inout SequenceSampler, _ logits: [Float], ending: Bool = false
    ) throws -> SampledToken {
      let draw = try #require(
        room.withUnsafeMutableBufferPointer { sampler.draw(adjustments: $0) })
      adjustmentCount = Int(draw.adjustments.count)
      if ending { sampler.endThinking() }
      let token = logits.withUnsafeBufferPointer { logits in
        room.withUnsafeBufferPointer { workspace.draw(draw, $0, from: logits) }
      }
      if let count = draw.reportedCount {
        report = logits.withUnsafeBufferPointer { LogitReport(of: $0, topCount: Int(count)) }
        if token >= 0 { report.chosen = logits[Int(token)] }
        if let other = draw.alternative { report.alternative = logits[Int(other)] }
      }
      return try withUnsafePointer(to: report) {
        try sampler.next(drawn: DrawnToken(id: token, report: $0))
      }
    }
  }

  @Test("A draw does as the logits do, whatever is asked for", arguments: changes.indices)
  func drawsAreLikeLogits(change: Int) throws {
    var given = SamplingParameters()
    Self.changes[change](&given)
    let parameters = given
    var random = SeededGenerator(seed: 3)
    let stopping = StoppingParameters(minTokens: 4, stopTokens: [1, 2, 1, 8])
    let thinking = ThinkingTokens(begin: 5, end: 6)
    func makeSampler() -> SequenceSampler {
      SequenceSampler(parameters, stopping: stopping, prompt: [2, 5, 2], thinking: thinking)
    }
    var sampler = makeSampler()
    var other = makeSampler()
    var workspace = SamplingWorkspace()
    var drawer = Drawer()
    for index in 0..<30 {
      let logits = (0..<9).map { _ in Float.random(in: -3...3, using: &random) }
      // What it is forced to be comes when the draw is under way.
      let drawn = try drawer.next(&sampler, logits, ending: index == 6)
      if index == 6 { other.endThinking() }
      let expected = try logits.withUnsafeBufferPointer { try other.next($0, using: &workspace) }
      #expect(drawn == expected, "token \(index)")
      if index < 4 { #expect(![1, 2, 8].contains(drawn.id)) }
      if index == 6 { #expect(drawn.id == 6) }
    }
  }

  @Test("Only what is needed is adjusted, each token once")
  func adjustmentsAreFew() throws {
    let logits: [Float] = [0, 9, 0, 0, 0, 0, 0, 0, 0]
    func counts(
      stopping: StoppingParameters = .init(), _ change: (inout SamplingParameters) -> Void
    ) throws -> [Int] {
      var parameters = SamplingParameters()
      parameters.temperature = 0
      change(&parameters)
      var sampler = SequenceSampler(parameters, stopping: stopping, prompt: [3, 4, 3])
      var drawer = Drawer()
      return try (0..<3).map { _ in
        _ = try drawer.next(&sampler, logits)
        return drawer.adjustmentCount
      }
    }
    #expect(try counts { _ in } == [0, 0, 0])
    // Prompt and output; output alone.
    #expect(try counts { $0.repetitionPenalty = 1.1 } == [2, 3, 3])
    #expect(try counts { $0.presencePenalty = 0.1 } == [0, 1, 1])
    let stopping = StoppingParameters(minTokens: 2, stopTokens: [7, 8, 7])
    #expect(try counts(stopping: stopping) { _ in } == [2, 2, 0])
    #expect(
      try counts(stopping: stopping) { $0.logitBias = [TokenBias(token: 8, bias: 1)] } == [2, 2, 1])
  }

  @Test("Without room for what is to be done first there is no draw")
  func roomIsAskedFor() {
    var parameters = SamplingParameters()
    parameters.logitBias = [TokenBias(token: 2, bias: 1), TokenBias(token: 3, bias: 1)]
    let stopping = StoppingParameters(minTokens: 1, stopTokens: [3, 4])
    let sampler = SequenceSampler(parameters, stopping: stopping, prompt: [1])
    for count in 0...4 {
      var room = [TokenAdjustment](repeating: TokenAdjustment(token: -1), count: count)
      let draw = room.withUnsafeMutableBufferPointer { sampler.draw(adjustments: $0) }
      #expect((draw == nil) == (count < 4))
    }
  }

  @Test("What is drawn in place of a token is an error, as from logits")
  func wordsAreErrors() throws {
    let stopping = StoppingParameters(minTokens: 1, stopTokens: [0, 1])
    let report = LogitReport()
    for (word, code) in [
      (DrawnToken.notFinite, "no finite number"), (DrawnToken.allMasked, "every token is a stop"),
    ] {
      var sampler = SequenceSampler(SamplingParameters(), stopping: stopping, prompt: [1])
      let error = #expect(throws: SequenceError.self) {
        try withUnsafePointer(to: report) {
          try sampler.next(drawn: DrawnToken(id: word, report: $0))
        }
      }
      #expect(error?.message.contains(code) == true)
    }
    var sampler = SequenceSampler(SamplingParameters(), stopping: stopping, prompt: [1])
    var drawer = Drawer()
    #expect(throws: SequenceError.self) { try drawer.next(&sampler, [3, 4]) }
  }

  @Test("A report's sum is of whole numbers, its largest in falling order")
  func reportsAreExact() {
    var random = SeededGenerator(seed: 8)
    for width in [1, 5, 1_024, 3_001] {
      let logits = (0..<width).map { _ in Float.random(in: -40...1, using: &random).rounded() / 4 }
      let report = logits.withUnsafeBufferPointer { LogitReport(of: $0, topCount: 20) }
      let sorted = logits.indices.sorted { (-logits[$0], $0) < (-logits[$1], $1) }
      #expect(report.topCount == min(width, 20) && report.peak == logits[sorted[0]])
      for (index, token) in sorted.prefix(20).enumerated() {
        #expect(report.top[index] == .init(token: Int32(token), logit: logits[token]))
      }
      let exact = logits.reduce(0.0) { $0 + (Double($1 - report.peak)).exponential }
      #expect(abs(Double(report.total) * 0x1p-40 / exact - 1) < 3e-7)
    }
  }
}

extension Double {
  /// e to it, by its series.
  fileprivate var exponential: Double {
    var (sum, term) = (1.0, 1.0)
    for index in 1..<60 {
      term *= -self / Double(index)
      sum += term
    }
    return 1 / sum
  }
}
