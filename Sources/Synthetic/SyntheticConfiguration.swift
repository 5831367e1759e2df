// SPDX-License-Identifier: Apache-2.0

/// How fast a synthetic model is, and how large what comes out.
package struct SyntheticConfiguration: Hashable, Sendable {
  /// Tokens a second of each generation, whatever the batch; nil: as fast as possible.
  package var tokenRate: Double?
  /// Prompt tokens a second of all generations together; nil: as fast as possible.
  package var prefillRate: Double?
  /// How its executor's thread waits for a step's end.
  package var wait = StepWait.sleep
  /// Bytes of text in each generated token.
  package var tokenBytes = 4
  /// Prompt and output tokens of a sequence, at most.
  package var contextLength = 4_096

  package init() {}

  /// What `tokenBytes` may be.
  package static let tokenBytesRange = 1...4_096
  /// What `tokenRate` and `prefillRate` may be, as far as a clock can tell.
  package static let rateRange = 0.001...1_000_000_000.0
}

/// How a synthetic device waits.
package enum StepWait: String, CaseIterable, Sendable {
  /// It gives its core back, whose caches are others' by the end of the step.
  case sleep
  /// It keeps its core and looks at the clock, as the driver of a GPU does by default.
  case spin
}
