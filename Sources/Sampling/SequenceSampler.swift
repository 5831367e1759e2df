// SPDX-License-Identifier: Apache-2.0

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
package struct SequenceSampler: ~Copyable, Sendable {
  private let parameters: SamplingParameters
  private let stopping: StoppingParameters
  private var adjustments: LogitAdjustments
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
    adjustments = LogitAdjustments(parameters, stopping: stopping, prompt: prompt)
    self.thinking = thinking.map { ThinkingState($0, prompt: prompt) }
  }

  /// Makes the next token the one that ends the model's thinking, if it is thinking.
  package mutating func endThinking() { thinking?.requestEnd() }

  // MARK: On the host

  /// Draws the next token from logits `[vocabulary]`. Throws when one of them is not a finite
  /// number; the sequence cannot go on then.
  package mutating func next(
    _ logits: UnsafeBufferPointer<Float>, using workspace: inout SamplingWorkspace
  ) throws(SequenceError) -> SampledToken {
    try checkFinite(logits)
    let token: Int32
    if let forced = thinking?.forcedToken {
      token = forced
    } else {
      token = try checked(drawn(logits, using: &workspace))
    }
    let logprobs = parameters.logprobs.map {
      TokenLogprobs(LogitReport(of: logits, topCount: $0), logit: logits[Int(token)])
    }
    note(token)
    return SampledToken(id: token, logprobs: logprobs)
  }

  private func drawn(
    _ logits: UnsafeBufferPointer<Float>, using workspace: inout SamplingWorkspace
  ) -> Int32 {
    let count = adjustments.countMax(masksStops: masksStops)
    return workspace.withRoom(forAdjustments: count) { workspace, room in
      workspace.draw(draw(room), UnsafeBufferPointer(room), from: logits)
    }
  }

  // MARK: By who has the logits

  /// How the next token is drawn by who has the logits, for `next(drawn:)`, and what is done to
  /// these before; nil where there is no room for that.
  package func draw(
    adjustments room: UnsafeMutableBufferPointer<TokenAdjustment>
  ) -> TokenDraw? {
    adjustments.countMax(masksStops: masksStops) <= room.count ? draw(room) : nil
  }

  /// The next token from what its `draw` gave.
  package mutating func next(drawn: DrawnToken) throws(SequenceError) -> SampledToken {
    if drawn.id == DrawnToken.notFinite {
      throw SequenceError(
        .internal,
        "the model gave a logit that is no finite number after \(generatedCount) generated tokens; "
          + "expected a finite number")
    }
    let token: Int32
    if let forced = thinking?.forcedToken { token = forced } else { token = try checked(drawn.id) }
    let logprobs = parameters.logprobs.map { _ in
      let report = drawn.report.pointee
      return TokenLogprobs(
        report, logit: token == drawn.id ? report.chosen : report.alternative)
    }
    note(token)
    return SampledToken(id: token, logprobs: logprobs)
  }

  // MARK: Parts of both

  /// There is room enough.
  private func draw(_ room: UnsafeMutableBufferPointer<TokenAdjustment>) -> TokenDraw {
    var draw = TokenDraw(parameters, position: generatedCount)
    draw.adjustments.count = Int32(adjustments.write(to: room, masksStops: masksStops))
    draw.adjustments.repetitionPenalty = parameters.repetitionPenalty
    draw.adjustments.frequencyPenalty = parameters.frequencyPenalty
    draw.adjustments.presencePenalty = parameters.presencePenalty
    draw.reportedCount = parameters.logprobs.map { Int32($0) }
    // What it is forced to be may be known only when it is drawn.
    draw.alternative = thinking?.endToken
    return draw
  }

  private var masksStops: Bool { generatedCount < stopping.minTokens }

  private func checked(_ token: Int32) throws(SequenceError) -> Int32 {
    guard token == DrawnToken.allMasked else { return token }
    throw SequenceError(
      .invalidArgument,
      "min_tokens is \(stopping.minTokens), and every token is a stop token: none can be drawn")
  }

  private mutating func note(_ token: Int32) {
    generatedCount += 1
    adjustments.append(token)
    thinking?.note(token)
  }

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
