// SPDX-License-Identifier: Apache-2.0

import Sampling
import Step
import Support
import TestSupport
import Testing

/// One token from logits; its index among the generated ones is `outputs.count`.
private func sample(
  _ logits: [Float], _ parameters: SamplingParameters = SamplingParameters(),
  stopping: StoppingParameters = StoppingParameters(), prompt: [Int32] = [],
  _ workspace: inout SamplingWorkspace
) throws -> SampledToken {
  var sampler = SequenceSampler(parameters, stopping: stopping, prompt: prompt)
  return try logits.withUnsafeBufferPointer { try sampler.next($0, using: &workspace) }
}

private func parameters(_ change: (inout SamplingParameters) -> Void) -> SamplingParameters {
  var parameters = SamplingParameters()
  change(&parameters)
  return parameters
}

@Suite struct PhiloxTests {
  /// The known answers that come with Random123, the authors' implementation.
  @Test("Philox gives the numbers of its authors")
  func knownAnswers() {
    let ones = UInt32.max
    #expect(
      Philox.random(counter: .zero, key: .zero)
        == SIMD4(0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8))
    #expect(
      Philox.random(counter: SIMD4(repeating: ones), key: SIMD2(repeating: ones))
        == SIMD4(0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD))
    #expect(
      Philox.random(
        counter: SIMD4(0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344),
        key: SIMD2(0xA409_3822, 0x299F_31D0))
        == SIMD4(0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1))
  }

  @Test("A number depends on seed, choice and position, and on nothing else")
  func numbersAreKeyed() {
    let number = Philox.bits(seed: 1, choice: 2, position: 3)
    #expect(Philox.bits(seed: 1, choice: 2, position: 3) == number)
    #expect(Philox.bits(seed: 2, choice: 2, position: 3) != number)
    #expect(Philox.bits(seed: 1 << 40, choice: 2, position: 3) != number)
    #expect(Philox.bits(seed: 1, choice: 3, position: 3) != number)
    #expect(Philox.bits(seed: 1, choice: 2, position: 4) != number)
    let sum = (0..<10_000).reduce(0.0) {
      $0 + Double(Philox.bits(seed: 5, choice: 0, position: $1)) * 0x1p-64
    }
    #expect(abs(sum / 1e4 - 0.5) < 0.01)
  }
}

@Suite struct SequenceSamplerTests {
  @Test("Asked to, a model ends its thinking at the next token, and only if it thinks")
  func thinkingEnds() throws {
    var workspace = SamplingWorkspace()
    let logits: [Float] = [9, 0, 0, 0]
    let tokens = ThinkingTokens(begin: 2, end: 3)
    func next(_ sampler: inout SequenceSampler) throws -> Int32 {
      try logits.withUnsafeBufferPointer { try sampler.next($0, using: &workspace) }.id
    }
    for (prompt, thinks) in [
      ([1], false), ([1, 2], true), ([2, 3], false), ([2, 3, 2, 1], true),
    ] {
      var sampler = SequenceSampler(
        parameters { $0.logprobs = 1 }, stopping: StoppingParameters(),
        prompt: prompt.map { Int32($0) }, thinking: tokens)
      #expect(try next(&sampler) == 0)
      sampler.endThinking()
      #expect(try next(&sampler) == (thinks ? 3 : 0))
      sampler.endThinking()
      #expect(try next(&sampler) == 0, "thinking is over")
    }
    var sampler = SequenceSampler(parameters { _ in }, stopping: StoppingParameters(), prompt: [2])
    sampler.endThinking()
    #expect(try next(&sampler) == 0, "a model without such tokens")
  }

  @Test("Temperature 0 takes the largest logit, of equals the lowest id")
  func greedyIsArgmax() throws {
    var workspace = SamplingWorkspace()
    let greedy = parameters { $0.temperature = 0 }
    #expect(try sample([1, 5, 2, 5], greedy, &workspace).id == 1)
    #expect(try sample([-3, -2, -2.5], greedy, &workspace).id == 1)
    #expect(try sample([4], greedy, &workspace).id == 0)
    let tiny = parameters { $0.temperature = .leastNonzeroMagnitude }
    #expect(try sample([1, 5, 2, 5], tiny, &workspace).id == 1)
    let bias = parameters {
      $0.temperature = 0
      $0.logitBias = [TokenBias(token: 2, bias: 10)]
    }
    #expect(try sample([1, 5, 2, 5], bias, &workspace).id == 2)
  }

  @Test("A token is drawn from edge to edge, and its neighbours beyond")
  func edgesAreSharp() {
    var workspace = SamplingWorkspace()
    var random = SeededGenerator(seed: 4)
    let logits = (0..<2_500).map { _ in Float.random(in: -3...3, using: &random) }
    logits.withUnsafeBufferPointer { logits in
      for topK in [0, 1_300] {
        let part: UInt64 = topK == 0 ? .max : .max / 10 * 9
        func token(_ number: UInt64) -> Int {
          workspace.draw(
            TokenDraw(scale: 1, topK: Int32(topK), topP: part, random: number), from: logits)
        }
        for _ in 0..<40 {
          let drawn = token(random.next())
          let edges = workspace.edges(of: drawn)
          #expect(token(edges.lowerBound) == drawn && token(edges.upperBound) == drawn)
          if edges.lowerBound > 0 { #expect(token(edges.lowerBound - 1) < drawn) }
          if edges.upperBound < .max { #expect(token(edges.upperBound + 1) > drawn) }
        }
      }
    }
  }

  @Test("Equal logits at the cut of top_k go by their ids")
  func topKBreaksTies() throws {
    var workspace = SamplingWorkspace()
    var drawn: Set<Int32> = []
    for seed in 0..<UInt64(200) {
      let parameters = parameters {
        $0.topK = 3
        $0.seed = seed
      }
      drawn.insert(try sample([1, 2, 1, 1, 1], parameters, &workspace).id)
    }
    #expect(drawn == [0, 1, 2])
  }

  @Test("Stop tokens are not drawn before min_tokens are generated")
  func minTokensMaskStops() throws {
    var workspace = SamplingWorkspace()
    let greedy = parameters { $0.temperature = 0 }
    let stopping = StoppingParameters(minTokens: 2, stopTokens: [1, 3])
    var sampler = SequenceSampler(greedy, stopping: stopping, prompt: [])
    let logits: [Float] = [1, 5, 2, 4]
    let ids = try (0..<3).map { _ in
      try logits.withUnsafeBufferPointer { try sampler.next($0, using: &workspace).id }
    }
    #expect(ids == [2, 2, 1])
    let all = StoppingParameters(minTokens: 1, stopTokens: [0, 1, 2, 3])
    #expect(throws: SequenceError.self) {
      try sample(logits, greedy, stopping: all, &workspace)
    }
  }

  @Test(
    "Logits that are not finite end the sequence with an error that names the token",
    arguments: [Float.nan, .infinity, -.infinity], [0, 16, 40])
  func notFiniteIsAnError(value: Float, token: Int) {
    var workspace = SamplingWorkspace()
    var logits = [Float](repeating: 1, count: 41)
    logits[token] = value
    let error = #expect(throws: SequenceError.self) {
      try sample(logits, SamplingParameters(), &workspace)
    }
    #expect(error?.code == .internal)
    #expect(error?.message.contains("token \(token) ") == true)
  }

  @Test("The same seed gives the same tokens, other seeds and choices others")
  func seedsDecide() throws {
    var workspace = SamplingWorkspace()
    var random = SeededGenerator(seed: 1)
    let logits = (0..<20).map { _ in
      (0..<500).map { _ in Float.random(in: -1...1, using: &random) }
    }
    func run(seed: UInt64, choice: UInt32) throws -> [Int32] {
      let parameters = parameters {
        $0.seed = seed
        $0.choice = choice
      }
      var sampler = SequenceSampler(parameters, stopping: StoppingParameters(), prompt: [])
      return try logits.map { row in
        try row.withUnsafeBufferPointer { try sampler.next($0, using: &workspace).id }
      }
    }
    let first = try run(seed: 3, choice: 0)
    #expect(try run(seed: 3, choice: 0) == first)
    #expect(try run(seed: 4, choice: 0) != first)
    #expect(try run(seed: 3, choice: 1) != first)
  }

  @Test("Extreme parameters still draw a token")
  func extremesAreDrawn() throws {
    var workspace = SamplingWorkspace()
    let logits: [Float] = [3e38, -3e38, 0, 88]
    for change in [
      { $0.repetitionPenalty = 1e-38 }, { $0.repetitionPenalty = 3e38 },
      { $0.temperature = 1e-30 }, { $0.temperature = 3e38 }, { $0.topP = 1e-30 },
      {
        $0.minP = 1
        $0.topP = 0.5
      },
    ] as [(inout SamplingParameters) -> Void] {
      let token = try sample(logits, parameters(change), prompt: [0, 1, 2, 3], &workspace)
      #expect((0..<4).contains(token.id))
    }
  }

  @Test("A vocabulary of 129,280 tokens is sampled with every option")
  func largeVocabularies() throws {
    var random = SeededGenerator(seed: 9)
    let logits = (0..<129_280).map { _ in Float.random(in: -12...8, using: &random) }
    var workspace = SamplingWorkspace()
    let best = try sample(logits, parameters { $0.temperature = 0 }, &workspace).id
    let one = parameters { $0.topK = 1 }
    #expect(try sample(logits, one, &workspace).id == best)
    let nucleus = parameters {
      $0.topP = 1e-6
      $0.logprobs = 20
    }
    let token = try sample(logits, nucleus, &workspace)
    #expect(token.id == best)
    let top = try #require(token.logprobs?.top)
    let sorted = logits.indices.sorted { (-logits[$0], $0) < (-logits[$1], $1) }
    #expect(top.map(\.token) == sorted[..<20].map { Int32($0) })
  }
}
