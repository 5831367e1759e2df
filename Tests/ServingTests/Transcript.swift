// SPDX-License-Identifier: Apache-2.0

import Messages
import Testing

/// What a client has heard of one generation, checked as it comes: nothing before `accepted`,
/// nothing of a choice after its end, nothing after the last end.
struct Transcript {
  struct Choice {
    var text = ""
    var tokens: [Int32] = []
    var logprobs: [Silica_V1_TokenLogprobs] = []
    var finished: Silica_V1_Finished?
  }

  var accepted: Silica_V1_Accepted?
  var choices: [UInt32: Choice] = [:]
  var failed: Silica_V1_Failed?
  var progress: [Silica_V1_Progress] = []
  /// Refused frames that named it while it went on.
  var refusals: [Silica_V1_Failed] = []
  let choiceCount: Int

  init(choiceCount: Int = 1) { self.choiceCount = choiceCount }

  var isOver: Bool {
    failed != nil || choices.values.count { $0.finished != nil } == choiceCount
  }

  /// The only choice.
  var first: Choice { choices[0] ?? Choice() }
  var text: String { first.text }
  var tokens: [Int32] { first.tokens }
  var finished: Silica_V1_Finished? { first.finished }

  mutating func add(_ message: Silica_V1_Accepted) {
    #expect(accepted == nil && choices.isEmpty && progress.isEmpty)
    accepted = message
  }

  mutating func add(_ message: Silica_V1_Progress) {
    #expect(accepted != nil && !isOver && choices.isEmpty)
    progress.append(message)
  }

  mutating func add(_ delta: Silica_V1_Delta) {
    #expect(accepted != nil && !isOver)
    #expect(!delta.text.isEmpty || !delta.tokenIds.isEmpty || !delta.logprobs.isEmpty)
    var choice = choices[delta.index] ?? Choice()
    #expect(choice.finished == nil)
    choice.text += delta.text
    choice.tokens += delta.tokenIds.map { Int32($0) }
    choice.logprobs += delta.logprobs
    choices[delta.index] = choice
  }

  mutating func add(_ finished: Silica_V1_Finished) {
    #expect(!isOver && finished.index < choiceCount)
    var choice = choices[finished.index] ?? Choice()
    #expect(choice.finished == nil)
    choice.finished = finished
    choices[finished.index] = choice
  }

  mutating func add(_ message: Silica_V1_Failed) {
    #expect(!isOver)
    if message.generationContinues { refusals.append(message) } else { failed = message }
  }
}
