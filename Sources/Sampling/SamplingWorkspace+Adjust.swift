// SPDX-License-Identifier: Apache-2.0

package import Step

/// What is done to logits before a token is drawn; `adjust.cu` does the same, operation by
/// operation.
extension SamplingWorkspace {
  /// Draws a token from finite logits `[vocabulary]`, or gives `DrawnToken.allMasked`: what a
  /// `TokenDrawer` gives.
  package mutating func draw(
    _ draw: TokenDraw, _ adjustments: UnsafeBufferPointer<TokenAdjustment>,
    from logits: UnsafeBufferPointer<Float>
  ) -> Int32 {
    if draw.adjustments.count == 0 { return Int32(self.draw(draw, from: logits)) }
    prepare(vocabularyCount: logits.count)
    scores.withUnsafeMutableBufferPointer { scores in
      _ = scores.update(fromContentsOf: logits)
      for adjustment in adjustments[draw.adjustments.range] {
        draw.adjustments.apply(adjustment, to: &scores[Int(adjustment.token)])
      }
    }
    // Drawing changes none of them.
    let scores = scores
    let token = scores.withUnsafeBufferPointer { self.draw(draw, from: $0) }
    return scores[token] == -.infinity ? DrawnToken.allMasked : Int32(token)
  }

  /// Calls `body` with room for so many adjustments, which is kept for the next time.
  mutating func withRoom<Result>(
    forAdjustments count: Int,
    _ body: (inout SamplingWorkspace, UnsafeMutableBufferPointer<TokenAdjustment>) -> Result
  ) -> Result {
    var room: [TokenAdjustment] = []
    swap(&room, &adjustments)
    defer { swap(&room, &adjustments) }
    if room.count < count {
      room = Array(repeating: TokenAdjustment(token: 0), count: max(count, 2 * room.count))
    }
    return room.withUnsafeMutableBufferPointer { body(&self, $0) }
  }
}

extension TokenDraw.Adjustments {
  fileprivate func apply(_ adjustment: TokenAdjustment, to score: inout Float) {
    score += adjustment.bias
    guard adjustment.outputCount >= 0 else { return }
    score = score > 0 ? score / repetitionPenalty : score * repetitionPenalty
    if adjustment.outputCount > 0 {
      score -= Float(adjustment.outputCount) * frequencyPenalty + presencePenalty
    }
    // An extreme penalty must not give an infinity, of which nothing can be subtracted.
    score = min(max(score, -1e30), 1e30)
  }
}
