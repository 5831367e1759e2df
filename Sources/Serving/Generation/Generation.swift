// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Step
internal import Support

/// A generation as its client sees it: accepted, progress, deltas, an end for each choice.
///
/// Confined to the poller of its call. It is pulled: whoever owns the call asks for the next event
/// when the call can take one, so everything that happened meanwhile is merged into it.
struct Generation {
  /// What can be sent next.
  enum Event {
    case accepted(Silica_V1_Accepted)
    case progress(Silica_V1_Progress)
    case delta(Silica_V1_Delta)
    case finished(Silica_V1_Finished)
    case failed(ServingError)
  }

  /// What the engine has to do after an event.
  enum Action: Equatable {
    case none
    /// These sequences are to end, for this reason.
    case cancel([SequenceID], FinishReason)
  }

  private var accepted: Silica_V1_Accepted?
  private var progress: Silica_V1_Progress?
  private var failure: ServingError?
  private var choices: [Choice]
  private var sequences: [SequenceID] = []
  /// Choices whose `finished` is still to be taken; 0 once the last event was.
  private var unfinishedCount: Int
  /// The choice that is asked first, so that choices take turns.
  private var turn = 0
  private var blockedSince: Nanoseconds?
  private var blockedTime: Nanoseconds = 0
  /// Whether the client ended it before it was admitted.
  private(set) var isWithdrawn = false

  /// A generation whose prompt is being tokenised.
  init(_ request: GenerationRequest, model: ServedModel) throws(ServingError) {
    choices = []
    for index in 0..<request.choiceCount {
      choices.append(try Choice(index: index, request: request, tokenizer: model.tokenizer))
    }
    unfinishedCount = choices.count
  }

  /// Its sequences are in the engine, one for each choice.
  mutating func admit(
    _ sequences: [SequenceID], request: GenerationRequest, promptTokens: Int, model: ServedModel
  ) {
    self.sequences = sequences
    var message = Silica_V1_Accepted()
    message.model = model.name
    message.promptTokens = UInt32(clamping: promptTokens)
    message.seed = request.sampling.seed
    accepted = message
  }

  /// Ends the generation by an error; nothing else is sent.
  mutating func fail(_ error: ServingError) -> Action {
    guard failure == nil else { return .none }
    failure = error
    return .cancel(sequences, .cancelled)
  }

  /// The client asked for the end. Before admission nothing ran, so every choice ends at once.
  mutating func cancel() -> Action {
    if sequences.isEmpty && !isWithdrawn {
      isWithdrawn = true
      for index in choices.indices { choices[index].finish(.cancelled, SequenceAccount()) }
    }
    return .cancel(sequences, .cancelled)
  }

  /// Takes in what the engine says of one of the sequences.
  mutating func apply(_ event: SequenceEvent, choice index: Int) -> Action {
    guard failure == nil else { return .none }
    switch event {
    case .prefilled(_, let tokens):
      var message = Silica_V1_Progress()
      message.prefillTokens = UInt32(clamping: tokens)
      progress = message
    case .token(let id, _, let token):
      progress = nil
      if choices[index].append(token) { return .cancel([id], .stopString) }
    case .finished(_, .failed(let error), _):
      return fail(ServingError(error))
    case .finished(_, let reason, let account):
      choices[index].finish(reason, account)
    }
    return .none
  }

  // MARK: Sending

  /// Whether every event has been taken.
  var isOver: Bool {
    unfinishedCount == 0
  }

  /// Whether an event can be taken.
  var hasEvent: Bool {
    if failure != nil { return unfinishedCount > 0 }
    return accepted != nil || progress != nil
      || choices.contains { $0.hasDelta || $0.end != nil }
  }

  /// Notes that an event waits while the call is busy, for the account of time.
  mutating func noteBlocked(now: Nanoseconds) {
    if blockedSince == nil { blockedSince = now }
  }

  /// Takes the next event. After `.failed`, and after the last `.finished`, there is none.
  mutating func takeEvent(now: Nanoseconds) -> Event? {
    if let since = blockedSince {
      blockedTime += now - since
      blockedSince = nil
    }
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

  private mutating func takeEvent(ofChoice index: Int) -> Event? {
    if choices[index].hasDelta { return .delta(choices[index].takeDelta()) }
    guard let finished = choices[index].takeFinished(sendBlocked: blockedTime) else { return nil }
    unfinishedCount -= 1
    return .finished(finished)
  }
}
