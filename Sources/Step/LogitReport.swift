// SPDX-License-Identifier: Apache-2.0

/// What log-probabilities are made of: of a row of logits, before anything is done to them.
package struct LogitReport: Sendable, BitwiseCopyable {
  package struct Entry: Hashable, Sendable, BitwiseCopyable {
    package var token: Int32
    package var logit: Float

    package init(token: Int32, logit: Float) {
      self.token = token
      self.logit = logit
    }
  }

  /// The largest logit.
  package var peak: Float = 0
  /// The sum of exp(logit - peak), each a whole number of 2^-40.
  package var total: UInt64 = 0
  /// The logit of the token drawn, and of the draw's alternative.
  package var chosen: Float = 0
  package var alternative: Float = 0
  /// How many of `top` there are: the tokens of the largest logits in falling order, equals in
  /// order of their ids.
  package var topCount = 0
  package var top = InlineArray<20, Entry>(repeating: Entry(token: 0, logit: 0))

  package init() {}

  package static let topMax = InlineArray<20, Entry>.count
}
