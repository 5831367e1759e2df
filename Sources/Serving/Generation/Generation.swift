// SPDX-License-Identifier: Apache-2.0

package import Engine
package import Messages
package import Step
internal import Support

/// A generation as its client sees it: accepted, progress, deltas, an end for each choice.
///
/// Confined to the poller of its call. It is pulled: whoever owns the call asks for the next event
/// when the call can take one, so everything that happened meanwhile is merged into it. An object,
/// so that asking it moves none of its two dozen references.
package final class Generation {
  /// What can be sent next.
  package enum Event {
    case accepted(Silica_V1_Accepted)
    case progress(Silica_V1_Progress)
    case delta(Silica_V1_Delta, tokenCount: Int)
    case finished(Silica_V1_Finished)
    case failed(ServingError)
  }

  /// What is to be done with its work in the engine.
  package enum Action: Equatable {
    case none
    /// A change for all of its sequences that the engine can apply.
    case update(SequenceUpdate)
    /// This choice is complete: its sequence ends, and says so.
    case endChoice(Int)
    /// All sequences end, and say so.
    case cancel
    /// Nothing more is wanted of them.
    case abandon
  }

  /// What is known once its sequences are in the engine.
  package struct Admission: Sendable {
    package var promptTokens: Int
    package var seed: UInt64
    /// Whether the prompt ends inside of the model's thinking.
    package var isThinking: Bool

    package init(promptTokens: Int, seed: UInt64, isThinking: Bool = false) {
      self.promptTokens = promptTokens
      self.seed = seed
      self.isThinking = isThinking
    }
  }

  private var accepted: Silica_V1_Accepted?
  private var progress: Silica_V1_Progress?
  private var failure: ServingError?
  private var choices: [Choice]
  private let minTokens: Int
  /// Changes that came while the prompt was being tokenised.
  private var earlyUpdate: SequenceUpdate?
  /// Whether its prompt is still being tokenised.
  private var isEncoding = true
  private var hasTokens = false
  /// Choices whose `finished` is still to be taken; 0 once the last event was.
  private var unfinishedCount: Int
  /// The choice that is asked first, so that choices take turns.
  private var turn = 0
  private var mayHaveAllowance = false
  private var blockedSince: Nanoseconds?
  private var blockedTime: Nanoseconds = 0

  /// A generation whose prompt is being tokenised.
  package init(
    _ request: GenerationRequest, model: ServedModel, unsentTokensMax: Int
  ) throws(ServingError) {
    choices = []
    minTokens = request.stopping.minTokens
    for index in 0..<request.choiceCount {
      choices.append(
        try Choice(
          index: index, request: request, tokenizer: model.tokenizer,
          unsentTokensMax: unsentTokensMax))
    }
    unfinishedCount = choices.count
  }

  /// Its sequences are in the engine, one for each choice.
  package func admit(
    _ admission: Admission, model: ServedModel, resumeToken: String = ""
  ) -> Action {
    isEncoding = false
    var message = Silica_V1_Accepted()
    message.model = model.name
    message.promptTokens = UInt32(clamping: admission.promptTokens)
    message.seed = admission.seed
    message.resumeToken = resumeToken
    message.thinking = admission.isThinking
    accepted = message
    defer { earlyUpdate = nil }
    return earlyUpdate.map { .update($0) } ?? .none
  }

  /// Ends the generation by an error; nothing else is sent.
  package func fail(_ error: ServingError) -> Action {
    guard failure == nil else { return .none }
    failure = error
    return .abandon
  }

  /// The client asked for the end. Before admission nothing ran, so every choice ends at once.
  package func cancel() -> Action {
    guard isEncoding else { return .cancel }
    isEncoding = false
    for index in choices.indices { choices[index].finish(.cancelled, SequenceAccount()) }
    return .abandon
  }

  /// The client changes it; the engine checks what only it can.
  ///
  /// - Parameter now: on `Clock`; what a new deadline counts from.
  package func update(
    _ message: Silica_V1_Update, model: ServedModel, now: Nanoseconds
  ) throws(ServingError) -> Action {
    let update = try SequenceUpdate(message, model: model, minTokens: minTokens, now: now)
    guard isEncoding else { return .update(update) }
    earlyUpdate = earlyUpdate.map { $0.followed(by: update) } ?? update
    return .none
  }

  /// Takes in what the engine says of one of the sequences.
  package func apply(_ event: SequenceEvent, choice index: Int) -> Action {
    guard failure == nil else { return .none }
    switch event {
    case .queued(_, let position):
      guard index == 0, !hasTokens else { return .none }
      var message = Silica_V1_Progress()
      message.queuePosition = UInt32(clamping: position)
      progress = message
    case .prefilled(_, let tokens):
      guard !hasTokens else { return .none }
      var message = Silica_V1_Progress()
      message.prefillTokens = UInt32(clamping: tokens)
      progress = message
    case .token(_, _, let token):
      hasTokens = true
      progress = nil
      if choices[index].append(token) { return .endChoice(index) }
    case .finished(_, .failed(let error), _):
      return fail(ServingError(error))
    case .finished(_, let reason, let account):
      choices[index].finish(reason, account)
    }
    return .none
  }

  // MARK: Flow control

  /// How many tokens each sequence may generate at first.
  package var initialAllowance: Int { choices[0].initialAllowance }

  /// The client takes so many tokens more, of each choice.
  package func add(credit tokens: Int) {
    for index in choices.indices { choices[index].add(credit: tokens) }
    mayHaveAllowance = true
  }

  /// How many tokens a sequence may now generate in all, if the engine is to be told. To be asked
  /// until nil after events were taken or credit was given.
  package func takeAllowance() -> (choice: Int, tokens: Int)? {
    guard mayHaveAllowance else { return nil }
    for index in choices.indices {
      if let tokens = choices[index].takeAllowance() { return (index, tokens) }
    }
    mayHaveAllowance = false
    return nil
  }

  // MARK: Sending

  /// Whether every event has been taken.
  package var isOver: Bool {
    unfinishedCount == 0
  }

  /// Whether an event can be taken.
  package var hasEvent: Bool {
    if failure != nil { return unfinishedCount > 0 }
    return accepted != nil || progress != nil || choices.indices.contains { choices[$0].hasNews }
  }

  /// Notes that an event waits while the call is busy, for the account of time.
  package func noteBlocked(now: Nanoseconds) {
    if blockedSince == nil { blockedSince = now }
  }

  /// Takes the next event if that is a plain delta: lends it as it is to be written, and says how
  /// many tokens it has. nil if it is another; `takeEvent` gives that.
  package func takeDeltaFrame(
    now: Nanoseconds, _ body: (DeltaFrame) -> Void
  ) -> Int? {
    guard failure == nil, accepted == nil else { return nil }
    for offset in 0..<choices.count {
      let index = (turn + offset) % choices.count
      guard choices[index].hasDelta else {
        if choices[index].end != nil { return nil }
        continue
      }
      guard let tokenCount = choices[index].takeDeltaFrame(body) else { return nil }
      noteUnblocked(now: now)
      turn = index + 1
      mayHaveAllowance = true
      return tokenCount
    }
    return nil
  }

  private func noteUnblocked(now: Nanoseconds) {
    guard let since = blockedSince else { return }
    blockedTime += now - since
    blockedSince = nil
  }

  /// Takes the next event. After `.failed`, and after the last `.finished`, there is none.
  package func takeEvent(now: Nanoseconds) -> Event? {
    noteUnblocked(now: now)
    if let failure {
      guard unfinishedCount > 0 else { return nil }
      unfinishedCount = 0
      return .failed(failure)
    }
    if let message = accepted {
      accepted = nil
      return .accepted(message)
    }
    for offset in choices.indices {
      let index = (turn + offset) % choices.count
      guard let event = takeEvent(ofChoice: index) else { continue }
      turn = index + 1
      return event
    }
    defer { progress = nil }
    return progress.map { .progress($0) }
  }

  private func takeEvent(ofChoice index: Int) -> Event? {
    if let (delta, tokenCount) = choices[index].takeDelta() {
      mayHaveAllowance = true
      return .delta(delta, tokenCount: tokenCount)
    }
    guard let finished = choices[index].takeFinished(sendBlocked: blockedTime) else { return nil }
    unfinishedCount -= 1
    return .finished(finished)
  }
}
