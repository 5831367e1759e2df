// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Step

/// A checked `Start`: everything but the prompt's tokens, which take a tokeniser's time.
package struct GenerationRequest: Sendable {
  /// What the prompt is made of.
  enum Prompt: Sendable {
    case text(String)
    case tokens([Int32])
    case chat(Silica_V1_Chat)
  }

  var prompt: Prompt
  /// With the seed drawn if none was given; `choice` is set for each choice.
  var sampling: SamplingParameters
  var stopping: StoppingParameters
  var stopStrings: [String]
  var choiceCount: Int
  var sendsTokenIDs: Bool
  /// Tokens of one delta, at most.
  var deltaTokensMax: Int
  var showsControlTokens: Bool
  var priority: Int32
  /// On `Clock`.
  var deadline: Nanoseconds?
  /// Tokens that the client takes before it says more; nil: all.
  var credit: Int?
  /// How long the generation outlives its stream; nil: not at all.
  var resumeTime: Nanoseconds?
}
