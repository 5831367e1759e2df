// SPDX-License-Identifier: Apache-2.0

/// What is done to one token's logit before a token is drawn: `Sampling` says how.
package struct TokenAdjustment: Hashable, Sendable, BitwiseCopyable {
  package var token: Int32
  /// Added first; minus infinity, of a token that penalties do not concern: it is not drawn.
  package var bias: Float
  /// Times it was generated, 0 for a token of the prompt alone; -1: penalties do not concern it.
  package var outputCount: Int32

  package init(token: Int32, bias: Float = 0, outputCount: Int32 = -1) {
    self.token = token
    self.bias = bias
    self.outputCount = outputCount
  }

  /// Adjustments of one row that go to a device, at most; a row with more is drawn from on the
  /// host. They take 12 bytes each, 192 KiB together; a row of 129,280 logits takes 505 KiB.
  package static let perRowMax = 16_384
  /// Those of all rows of a step with so many outputs, at most: 12 MiB.
  package static func perStepMax(outputs: Int) -> Int {
    min(max(perRowMax, outputs * perOutput), 1 << 20)
  }
  private static let perOutput = 4_096
}
