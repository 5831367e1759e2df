// SPDX-License-Identifier: Apache-2.0

internal import Sampling
internal import Step

/// Random rows of logits, and random ways to draw from them. The generator is SplitMix64.
struct DrawRandom: RandomNumberGenerator {
  private var state: UInt64

  init(state: UInt64) { self.state = state }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// True once in so many times.
  mutating func oneOf(_ count: UInt64) -> Bool { next() % count == 0 }

  /// About normal, of deviation 1: the sum of four.
  private mutating func normal() -> Float {
    let bits = next()
    let sum = (0..<4).reduce(0) { $0 + Int(bits >> (16 * $1) & 0xFFFF) }
    return Float(sum - 2 * 0xFFFF) * (1 / 37_837)
  }

  mutating func logits(_ shape: DrawComparison.Shape, width: Int) -> [Float] {
    let scale = Float.random(in: 0.1...8, using: &self)
    return (0..<width).map { _ in
      let number = normal()
      return switch shape {
      case .spread: number * scale
      case .peaked: oneOf(1_000) ? 20 + number * scale : number
      case .tied: (number * 2).rounded() / 2
      case .equal: scale
      case .huge: number * 1e37 * scale
      }
    }
  }

  /// By temperature, top_k, top_p and min_p.
  mutating func draw(width: Int) -> TokenDraw {
    if oneOf(8) { return .largest }
    var parameters = SamplingParameters()
    parameters.temperature = .random(in: 0.1...5, using: &self)
    if oneOf(2) { parameters.topK = .random(in: 1...(oneOf(2) ? width : 40), using: &self) }
    if oneOf(2) { parameters.topP = .random(in: 0.01...1, using: &self) }
    if oneOf(3) { parameters.minP = .random(in: 0...1, using: &self) }
    parameters.seed = next()
    return TokenDraw(parameters, position: Int(next() % 100_000))
  }

  /// Biases, penalties and masks of some tokens, and now and then of all, behind what is in `list`.
  mutating func adjust(_ draw: inout TokenDraw, width: Int, _ list: inout [TokenAdjustment]) {
    if oneOf(2) { return }
    // As many as there is room for in every row of a step.
    let count = min(width, oneOf(8) ? 4_096 : .random(in: 1...40, using: &self))
    let masksAll = oneOf(4)
    draw.adjustments.first = Int32(list.count)
    draw.adjustments.count = Int32(count)
    draw.adjustments.repetitionPenalty =
      oneOf(8) ? 1e-38 : oneOf(2) ? 1 : .random(in: 0.5...2, using: &self)
    draw.adjustments.frequencyPenalty = oneOf(2) ? 0 : .random(in: -2...2, using: &self)
    draw.adjustments.presencePenalty = oneOf(2) ? 0 : .random(in: -2...2, using: &self)
    // Of every token from some place on, or of some far from each other.
    let (first, step) = (Int(next() % UInt64(width)), max(1, width / count))
    for index in 0..<count {
      var adjustment = TokenAdjustment(token: Int32((first + index * step) % width))
      if masksAll || oneOf(6) {
        adjustment.bias = -.infinity
      } else {
        if oneOf(2) { adjustment.bias = .random(in: -100...100, using: &self) }
        adjustment.outputCount = .random(in: -1...4, using: &self)
      }
      list.append(adjustment)
    }
  }

  mutating func report(_ draw: inout TokenDraw, width: Int) {
    if oneOf(2) { return }
    draw.reportedCount = .random(in: 0...Int32(LogitReport.topMax), using: &self)
    if oneOf(2) { draw.alternative = Int32(next() % UInt64(width)) }
  }
}
