// SPDX-License-Identifier: Apache-2.0

import Glibc
package import Step
import Support

/// Draws the tokens of one sequence from its logits, one after the other.
///
/// Each token follows from the logits, the parameters, the tokens before it, and the random number
/// of (seed, choice, index of the token): never from what else runs. The order of operations is
/// that of the field: logit_bias, repetition, frequency and presence penalty, stop tokens masked
/// until min_tokens, temperature, top_k, top_p, min_p.
///
/// Confined to the thread that samples.
package struct SequenceSampler: Sendable {
  private let parameters: SamplingParameters
  private let stopping: StoppingParameters
  private var history: TokenHistory?
  private var thinking: ThinkingState?
  /// Tokens drawn so far.
  package private(set) var generatedCount = 0

  /// The parameters must be valid.
  ///
  /// - Parameter thinking: the model's tokens for `endThinking`; nil if it has none.
  package init(
    _ parameters: SamplingParameters, stopping: StoppingParameters, prompt: [Int32],
    thinking: ThinkingTokens? = nil
  ) {
    self.parameters = parameters
    self.stopping = stopping
    history = parameters.hasPenalties ? TokenHistory(prompt: prompt) : nil
    self.thinking = thinking.map { ThinkingState($0, prompt: prompt) }
  }

  /// Makes the next token the one that ends the model's thinking, if it is thinking.
  package mutating func endThinking() { thinking?.requestEnd() }

  /// Draws the next token from logits `[vocabulary]`. Throws when one of them is not a finite
  /// number; the sequence cannot go on then.
  package mutating func next(
    _ logits: UnsafeBufferPointer<Float>, using workspace: inout SamplingWorkspace
  ) throws(SequenceError) -> SampledToken {
    try checkFinite(logits)
    workspace.prepare(vocabularyCount: logits.count)
    let token: Int
    if let forced = thinking?.forcedToken {
      token = Int(forced)
    } else if adjustsLogits {
      adjust(logits, into: &workspace.scores)
      token = try choose(&workspace)
    } else {
      token = workspace.draw(nextDraw, from: logits)
    }
    let logprobs = parameters.logprobs.map {
      TokenLogprobs(of: token, in: logits, topCount: $0)
    }
    note(Int32(token))
    return SampledToken(id: Int32(token), logprobs: logprobs)
  }

  /// How the next token is drawn by who has the logits, for `next(drawn:)`; nil where it takes more
  /// than that.
  package var draw: TokenDraw? {
    adjustsLogits || parameters.logprobs != nil ? nil : nextDraw
  }

  /// The next token where there is a `draw`, from what that gave; -1 where a logit is no finite
  /// number, which throws.
  package mutating func next(drawn: Int32) throws(SequenceError) -> SampledToken {
    guard drawn >= 0 else {
      throw SequenceError(
        .internal,
        "the model gave a logit that is no finite number after \(generatedCount) generated tokens; "
          + "expected a finite number")
    }
    let token = thinking?.forcedToken ?? drawn
    note(token)
    return SampledToken(id: token)
  }

  private mutating func note(_ token: Int32) {
    generatedCount += 1
    history?.append(token)
    thinking?.note(token)
  }

  // MARK: Adjusting logits

  private var masksStopTokens: Bool {
    generatedCount < stopping.minTokens && !stopping.stopTokens.isEmpty
  }
  private var adjustsLogits: Bool {
    history != nil || !parameters.logitBias.isEmpty || masksStopTokens
  }

  private func adjust(_ logits: UnsafeBufferPointer<Float>, into scores: inout [Float]) {
    scores.withUnsafeMutableBufferPointer { scores in
      _ = scores.update(fromContentsOf: logits)
      for entry in parameters.logitBias { scores[Int(entry.token)] += entry.bias }
      for entry in history?.entries ?? [] {
        scores[Int(entry.token)] = penalized(scores[Int(entry.token)], entry.outputCount)
      }
      if masksStopTokens {
        for token in stopping.stopTokens { scores[Int(token)] = -.infinity }
      }
    }
  }

  private func penalized(_ score: Float, _ outputCount: Int32) -> Float {
    let penalty = parameters.repetitionPenalty
    var score = score > 0 ? score / penalty : score * penalty
    if outputCount > 0 {
      score -= Float(outputCount) * parameters.frequencyPenalty + parameters.presencePenalty
    }
    // An extreme penalty must not give an infinity, of which nothing can be subtracted.
    return min(max(score, -1e30), 1e30)
  }

  // MARK: Choosing

  private func choose(_ workspace: inout SamplingWorkspace) throws(SequenceError) -> Int {
    let scores = workspace.scores
    let token = scores.withUnsafeBufferPointer { workspace.draw(nextDraw, from: $0) }
    if scores[token] == -.infinity {
      throw SequenceError(
        .invalidArgument,
        "min_tokens is \(stopping.minTokens), and every token is a stop token: none can be drawn")
    }
    return token
  }

  private var nextDraw: TokenDraw { TokenDraw(parameters, position: generatedCount) }

  private func checkFinite(_ logits: UnsafeBufferPointer<Float>) throws(SequenceError) {
    // The sum of x * 0 is zero unless one of them is infinite or not a number.
    var sums = SIMD16<Float>.zero
    let whole = logits.count / 16 * 16
    if let base = logits.baseAddress {
      for index in stride(from: 0, to: whole, by: 16) {
        sums += UnsafeRawPointer(base + index).loadUnaligned(as: SIMD16<Float>.self) * 0
      }
    }
    for index in whole..<logits.count { sums[0] += logits[index] * 0 }
    if sums == .zero { return }
    for (token, logit) in logits.enumerated() where !logit.isFinite {
      throw SequenceError(
        .internal,
        "the model gave a logit of \(logit) for token \(token) after \(generatedCount) generated "
          + "tokens; expected a finite number")
    }
  }
}

extension TokenDraw {
  /// Of the token at a position among those that a sequence generates, from logits that parameters
  /// change no more.
  package init(_ parameters: SamplingParameters, position: Int) {
    let scale = 1 / parameters.temperature
    // Too small a temperature cannot be divided by; it is greedy to any precision.
    guard scale.isFinite else {
      self = .largest
      return
    }
    self.init(
      scale: scale, topK: Int32(clamping: parameters.topK),
      topP: parameters.topP < 1 ? UInt64(Double(parameters.topP) * 0x1p64) : .max,
      minP: parameters.minP,
      random: Philox.bits(
        seed: parameters.seed, choice: parameters.choice, position: position))
  }
}

/// The index of the largest value; of equals the first.
func argmax(_ values: UnsafeBufferPointer<Float>) -> Int {
  let peak = maximum(values)
  let width = SIMD16<Float>.scalarCount
  guard let base = values.baseAddress else { return 0 }
  // The block that has it; then within that, or in what is left after whole blocks.
  var start = 0
  while start + width <= values.count {
    let block = UnsafeRawPointer(base + start).loadUnaligned(as: SIMD16<Float>.self)
    if any(block .== peak) { break }
    start += width
  }
  return (start..<values.count).first { values[$0] == peak } ?? 0
}

/// The largest of values that are all numbers.
private func maximum(_ values: UnsafeBufferPointer<Float>) -> Float {
  let width = SIMD16<Float>.scalarCount
  guard let base = values.baseAddress else { return -.infinity }
  var peaks = SIMD16<Float>(repeating: -.infinity)
  let whole = values.count / width * width
  for start in stride(from: 0, to: whole, by: width) {
    let block = UnsafeRawPointer(base + start).loadUnaligned(as: SIMD16<Float>.self)
    peaks.replace(with: block, where: block .> peaks)
  }
  return values[whole...].reduce(peaks.max()) { $1 > $0 ? $1 : $0 }
}

extension TokenLogprobs {
  /// Log-softmax of raw logits at the chosen token and at the largest.
  init(of token: Int, in logits: UnsafeBufferPointer<Float>, topCount: Int) {
    let peak = logits[argmax(logits)]
    let logSum = Double(peak) + log(Exponential.sum(logits, peak: peak))
    func logprob(_ token: Int) -> Float { Float(Double(logits[token]) - logSum) }
    var top: [CandidateKey] = []
    // What a logit must exceed to be among the top; a later equal one is not.
    var bar = topCount == 0 ? Float.infinity : -.infinity
    for index in 0..<logits.count where logits[index] > bar {
      let key = CandidateKey(score: logits[index], token: index)
      if top.count == topCount { top.removeLast() }
      top.insert(key, at: top.firstIndex { key < $0 } ?? top.count)
      if top.count == topCount, let last = top.last { bar = logits[last.token] }
    }
    self.init(
      chosen: logprob(token),
      top: top.map { TokenLogprob(token: Int32($0.token), logprob: logprob($0.token)) })
  }
}
