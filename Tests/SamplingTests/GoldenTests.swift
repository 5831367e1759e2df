// SPDX-License-Identifier: Apache-2.0

import Foundation
import Sampling
import Step
import Support
import TestSupport
import Testing

/// What Hugging Face's logits processors give; `Goldens/make_goldens.py` writes it.
private struct Golden {
  var parameters = SamplingParameters()
  let logits: [Float]
  let prompt: [Int32]
  let output: [Int32]
  let probabilities: [Double]
  let logprobs: [Double]

  init(_ json: JSON) {
    func numbers(_ key: String) -> [Double] {
      (json[key]?.arrayValue ?? []).map { $0.numberValue ?? .nan }
    }
    logits = numbers("logits").map { Float($0) }
    prompt = numbers("prompt").map { Int32($0) }
    output = numbers("output").map { Int32($0) }
    probabilities = numbers("probabilities")
    logprobs = numbers("logprobs")
    let values = json["parameters"]
    func number(_ key: String, _ neutral: Float) -> Float {
      values?[key]?.numberValue.map { Float($0) } ?? neutral
    }
    parameters.temperature = number("temperature", 1)
    parameters.topK = Int(number("top_k", 0))
    parameters.topP = number("top_p", 1)
    parameters.minP = number("min_p", 0)
    parameters.repetitionPenalty = number("repetition_penalty", 1)
    parameters.presencePenalty = number("presence_penalty", 0)
    parameters.frequencyPenalty = number("frequency_penalty", 0)
    for member in values?["logit_bias"]?.objectValue?.members ?? [] {
      parameters.logitBias.append(
        TokenBias(token: Int32(member.key) ?? -1, bias: Float(member.value.numberValue ?? .nan)))
    }
  }

  static func all() throws -> [Golden] {
    let path = Repository.path("Tests/SamplingTests/Goldens/goldens.json")
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    return (try JSON(parsing: bytes).arrayValue ?? []).map { Golden($0) }
  }

  /// The token after `output`, whose tokens are forced by logits that no other can match. Only
  /// penalties look at them.
  func draw(seed: UInt64, _ workspace: inout SamplingWorkspace) throws -> SampledToken {
    var parameters = parameters
    parameters.seed = seed
    parameters.logprobs = 5
    var sampler = SequenceSampler(parameters, stopping: StoppingParameters(), prompt: prompt)
    for token in parameters.hasPenalties ? output : [] {
      var forced = [Float](repeating: -1e4, count: logits.count)
      forced[Int(token)] = 1e4
      let drawn = try forced.withUnsafeBufferPointer { try sampler.next($0, using: &workspace) }
      #expect(drawn.id == token)
    }
    return try logits.withUnsafeBufferPointer { try sampler.next($0, using: &workspace) }
  }
}

@Suite struct GoldenTests {
  @Test("Tokens are drawn as often as Hugging Face's processors say, and no others")
  func distributionsMatch() throws {
    let goldens = try Golden.all()
    #expect(goldens.count == 24)
    var workspace = SamplingWorkspace()
    let drawCount = 400
    for (index, golden) in goldens.enumerated() {
      var counts = [Int](repeating: 0, count: golden.logits.count)
      for seed in 0..<UInt64(drawCount) {
        counts[Int(try golden.draw(seed: seed, &workspace).id)] += 1
      }
      // Pearson's statistic, rare tokens taken together.
      var statistic = 0.0
      var degrees = -1.0
      var rare = (expected: 0.0, observed: 0.0)
      for (count, probability) in zip(counts, golden.probabilities) {
        if probability == 0 { #expect(count == 0, "case \(index)") }
        let expected = probability * Double(drawCount)
        if expected < 8 {
          rare.expected += expected
          rare.observed += Double(count)
        } else {
          statistic += (Double(count) - expected) * (Double(count) - expected) / expected
          degrees += 1
        }
      }
      if rare.expected > 0 {
        let difference = rare.observed - rare.expected
        statistic += difference * difference / max(rare.expected, 1)
        degrees += 1
      }
      // Mean and variance of the statistic are its degrees of freedom, and twice these.
      #expect(statistic <= degrees + 4 * (2 * max(degrees, 1)).squareRoot(), "case \(index)")
    }
  }

  @Test("Log-probabilities are those of the raw logits, the top ones in falling order")
  func logprobsMatch() throws {
    var workspace = SamplingWorkspace()
    for golden in try Golden.all() {
      let token = try golden.draw(seed: 1, &workspace)
      let logprobs = try #require(token.logprobs)
      #expect(abs(Double(logprobs.chosen) - golden.logprobs[Int(token.id)]) < 2e-6)
      let order = golden.logprobs.indices.sorted { golden.logprobs[$0] > golden.logprobs[$1] }
      #expect(logprobs.top.map(\.token) == order[..<5].map { Int32($0) })
      for (entry, index) in zip(logprobs.top, order) {
        #expect(abs(Double(entry.logprob) - golden.logprobs[index]) < 2e-6)
      }
    }
  }
}
