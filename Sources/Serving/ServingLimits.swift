// SPDX-License-Identifier: Apache-2.0

package import Step

/// What one client may take of the server's front end, and what the front end takes of time. The
/// engine's queue has limits of its own.
package struct ServingLimits: Hashable, Sendable {
  /// Generations that run or wait on one stream.
  package var generationsPerStream = 256
  /// Choices of one generation (`output.n`).
  package var choicesPerGeneration = 16
  /// Stop strings of one generation, and bytes of each.
  package var stopStrings = 16
  package var stopStringBytes = 1_024
  /// Tokens of `stopping.stop_token_ids`.
  package var stopTokens = 1_024
  /// Entries of `sampling.logit_bias`.
  package var logitBiases = 1_024
  /// Messages of a conversation.
  package var chatMessages = 4_096
  /// Answers about the whole stream (pong, refusals) that wait to be sent before reading pauses.
  package var waitingStreamFrames = 64
  /// Tokens of one message: with all their log-probabilities they stay well below the 4 MB that
  /// many clients take.
  package var deltaTokens = 1_024
  /// Tokens of one choice that wait to be sent before its sequence is paused.
  package var unsentTokens = 1_024
  /// Bytes of frames that are kept of a generation that can be resumed; the oldest go first.
  package var replayBytes = 256 << 10
  /// `limits.resume_ms`.
  package var resumeMilliseconds: UInt32 = 600_000
  /// Generations that wait for `resume` on each poller; of those over it, the one with the least
  /// time left is ended.
  package var detachedGenerations = 1_024
  /// Requests that wait to be tokenised, on all streams together.
  package var waitingPrompts = 1_024
  /// What one step of one device may take. With an older one, health says that the server hangs.
  package var stepTimeMax: Nanoseconds = 30_000_000_000
  /// Sessions are told of a changed load this often at most; nil: never.
  package var loadInterval: Nanoseconds? = 1_000_000_000

  package init() {}
}
