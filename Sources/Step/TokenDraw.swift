// SPDX-License-Identifier: Apache-2.0

/// How one token is drawn from one row of logits. `Sampling` says what each value does, bit for
/// bit: whoever follows it draws the same token from the same row.
package struct TokenDraw: Hashable, Sendable, BitwiseCopyable {
  /// 1 / temperature; 0 takes the largest logit, of equals the lowest id, whatever the rest is.
  package var scale: Float
  /// Keep tokens at least this many times as likely as the likeliest.
  package var minP: Float
  /// Keep this many most likely tokens; 0 keeps all.
  package var topK: Int32
  /// Keep the smallest set whose weights reach this part of the sum, in 2^-64; `.max` keeps all.
  package var topP: UInt64
  /// Where the token lies in the sum of what is kept, in 2^-64 of it.
  package var random: UInt64
  /// What is done to logits before all of this.
  package var adjustments = Adjustments()
  /// How many of the largest logits, as they were before, a `LogitReport` tells; nil: there is no
  /// report.
  package var reportedCount: Int32?
  /// A token whose logit it tells beside that of the one drawn.
  package var alternative: Int32?

  package init(
    scale: Float, topK: Int32 = 0, topP: UInt64 = .max, minP: Float = 0, random: UInt64 = 0
  ) {
    self.scale = scale
    self.minP = minP
    self.topK = topK
    self.topP = topP
    self.random = random
  }

  package static let largest = TokenDraw(scale: 0)

  package var takesLargest: Bool { scale == 0 }
  /// Whether only some of the likeliest are kept.
  package var cuts: Bool { topK > 0 || topP < .max }
  /// Whether it is of the logits as they are, and gives nothing but a token.
  package var isPlain: Bool { adjustments.count == 0 && reportedCount == nil }

  /// Which of a step's `TokenAdjustment`s are this row's, each of another token, and its penalties.
  package struct Adjustments: Hashable, Sendable, BitwiseCopyable {
    package var first: Int32 = 0
    package var count: Int32 = 0
    package var repetitionPenalty: Float = 1
    package var frequencyPenalty: Float = 0
    package var presencePenalty: Float = 0

    package init() {}

    package var range: Range<Int> { Int(first)..<Int(first) + Int(count) }
  }
}

/// How the tokens of a step are drawn.
package struct StepDraws {
  /// One for each output; nil where nothing is drawn.
  package var rows: UnsafeBufferPointer<TokenDraw?>
  /// Of all rows.
  package var adjustments: UnsafeBufferPointer<TokenAdjustment>

  package init(
    rows: UnsafeBufferPointer<TokenDraw?>, adjustments: UnsafeBufferPointer<TokenAdjustment>
  ) {
    self.rows = rows
    self.adjustments = adjustments
  }
}
