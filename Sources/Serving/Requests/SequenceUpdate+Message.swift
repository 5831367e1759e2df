// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import Messages
internal import Step
internal import Support

extension SequenceUpdate {
  /// Checks an `Update` frame.
  ///
  /// - Parameter now: on `Clock`; what a new deadline counts from.
  init(
    _ message: Silica_V1_Update, model: ServedModel, minTokens: Int, now: Nanoseconds
  ) throws(ServingError) {
    self.init()
    if message.hasPriority { priority = message.priority }
    if message.hasDeadlineMs { deadline = now + UInt64(message.deadlineMs) * 1_000_000 }
    if message.hasMaxTokens {
      guard message.maxTokens >= max(1, minTokens) else {
        throw .invalid(
          "update.max_tokens",
          "update.max_tokens is \(message.maxTokens); expected \(max(1, minTokens)) or more"
            + (minTokens > 1 ? ", the min_tokens of the generation" : ""))
      }
      maxTokens = Int(message.maxTokens)
    }
    endsThinking = message.endThinking
    guard !endsThinking || model.thinking != nil else {
      throw ServingError(
        .failedPrecondition,
        "update.end_thinking is true; the model '\(model.name)' has no <think> and </think> tokens",
        reason: "NO_THINKING", field: "update.end_thinking")
    }
  }

  /// Both changes in one, `other` being the later.
  func followed(by other: SequenceUpdate) -> SequenceUpdate {
    var both = self
    both.priority = other.priority ?? priority
    both.deadline = other.deadline ?? deadline
    both.maxTokens = other.maxTokens ?? maxTokens
    both.endsThinking = endsThinking || other.endsThinking
    return both
  }
}
