// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import RPC
internal import Step
internal import Support

/// One poller's way to the engine and back: tokenises prompts on the aux thread, submits their
/// sequences, and passes each event to the generation it belongs to.
final class Dispatcher: @unchecked Sendable {  // all but the immutable is confined to the poller
  private enum Route {
    case here(EngineWork, choice: Int)
    /// The generation was resumed on another poller; the engine still sends its events here.
    case elsewhere(Mailbox)
  }

  let model: ServedModel
  let limits: ServingLimits
  let statistics = LaneStatistics()
  let mailbox: Mailbox
  private let poller: Poller
  private let aux: AuxThread
  /// By the numbers of their sequences' ids.
  private var routes = NumberTable<Route>()

  /// A dispatcher lives as long as its poller.
  init(model: ServedModel, limits: ServingLimits, poller: Poller, aux: AuxThread) {
    self.model = model
    self.limits = limits
    self.poller = poller
    self.aux = aux
    mailbox = Mailbox(poller: poller)
    let isAdded = poller.addKickHandler { [self] in receive(mailbox.takeAll()) }
    check(isAdded, "a new poller takes a kick handler")
  }

  // MARK: To the engine

  /// Begins a generation; `owner.admitted` follows, later.
  func start(
    _ request: GenerationRequest, tokenAllowance: Int, owner: any GenerationOwner
  ) throws(ServingError) -> EngineWork {
    let work = EngineWork(owner: owner)
    let encode: @Sendable () -> Void = { [model, mailbox] in
      guard !work.isAbandoned else { return }
      let tokens = Result { () throws(ServingError) in
        try PromptEncoder(model: model).encode(request.prompt)
      }
      mailbox.deliver(
        .prompt(
          EncodedPrompt(
            request: request, tokens: tokens, tokenAllowance: tokenAllowance, work: work)))
    }
    if case .tokens = request.prompt {
      // Nothing to tokenise: it would cost two thread switches.
      encode()
      return work
    }
    guard aux.submit(encode) else {
      throw ServingError(
        .resourceExhausted, "\(limits.waitingPrompts) prompts already wait to be tokenised",
        reason: "PROMPT_QUEUE_FULL", retryDelay: 1_000_000_000)
    }
    return work
  }

  /// Does what a generation asks for.
  func perform(_ action: Generation.Action, for work: EngineWork) throws(ServingError) {
    switch action {
    case .none: break
    case .update(let update): try apply(update, to: work)
    case .endChoice(let choice): end([work.sequences[choice]], reason: .stopString)
    case .cancel: end(work.sequences, reason: .cancelled)
    case .abandon: abandon(work)
    }
  }

  /// Lets a sequence generate so many tokens in all.
  func allow(_ work: EngineWork, choice: Int, tokens: Int) {
    guard choice < work.sequences.count else { return }
    let id = work.sequences[choice]
    if routes[id.value] != nil { model.engine.allow(id, tokens: tokens) }
  }

  private func apply(_ update: SequenceUpdate, to work: EngineWork) throws(ServingError) {
    do {
      try model.engine.update(work.sequences, update, promptTokens: work.promptTokens)
    } catch {
      throw .invalid("update.max_tokens", "update.\(error.message)")
    }
  }

  /// Forgets work that nobody waits for: its sequences are ended and their events dropped.
  func abandon(_ work: EngineWork) {
    work.markAbandoned()
    end(work.sequences, reason: .cancelled)
    for id in work.sequences { routes[id.value] = nil }
  }

  /// Ends sequences; their last events still come. Ids that are over are ignored.
  private func end(_ sequences: [SequenceID], reason: FinishReason) {
    for id in sequences where routes[id.value] != nil { model.engine.cancel(id, reason: reason) }
  }

  // MARK: Moving between pollers

  /// The generation goes on at another poller: what the engine says of it is passed on there.
  func forward(_ work: EngineWork, to mailbox: Mailbox) {
    for id in running(of: work) { routes[id.value] = .elsewhere(mailbox) }
  }

  /// A generation has come from another poller.
  func adopt(_ work: EngineWork, running: [SequenceID]) {
    for (choice, id) in work.sequences.enumerated() where running.contains(id) {
      routes[id.value] = .here(work, choice: choice)
    }
  }

  /// The sequences of a generation whose end has not come.
  func running(of work: EngineWork) -> [SequenceID] {
    work.sequences.filter { routes[$0.value] != nil }
  }

  // MARK: From the engine

  private func receive(_ items: [Mailbox.Item]) {
    // When steps have gathered, their tokens shall go out together.
    let isBehind = items.count > 1
    var touched: [ObjectIdentifier: any GenerationOwner] = [:]
    // Of several steps that go out together, the time of the oldest.
    var oldest: Nanoseconds = 0
    for item in items {
      poller.cause = 0
      switch item {
      case .prompt(let prompt): if !prompt.work.isAbandoned { admit(prompt) }
      case .job(let job): job()
      case .events(let events, let end):
        if oldest == 0 { oldest = end }
        for event in events {
          // A place in the queue comes from the clock and not from a step.
          if case .queued = event { poller.cause = 0 } else { poller.cause = end }
          guard let owner = pass(on: event) else { continue }
          if isBehind { touched[ObjectIdentifier(owner)] = owner } else { owner.pump() }
        }
      }
    }
    poller.cause = oldest
    for owner in touched.values { owner.pump() }
    poller.cause = 0
  }

  /// Returns who was told.
  private func pass(on event: SequenceEvent) -> (any GenerationOwner)? {
    guard let route = routes[event.id.value] else { return nil }
    if case .finished = event { routes[event.id.value] = nil }
    switch route {
    case .here(let work, let choice):
      let owner = work.owner
      owner?.received(event, choice: choice)
      return owner
    case .elsewhere(let mailbox):
      mailbox.deliver(.events([event], stepEnd: Clock.nowNanoseconds))
      return nil
    }
  }

  /// Tokens of one message have been handed to the transport.
  func noteSent(tokens: Int) { statistics.noteSent(tokens: tokens) }

  // MARK: Admission

  private func admit(_ prompt: EncodedPrompt) {
    let work = prompt.work
    let result = prompt.tokens.flatMap { tokens in
      Result { () throws(ServingError) in
        try submit(prompt, tokens: tokens)
        return Generation.Admission(
          promptTokens: tokens.count, seed: prompt.request.sampling.seed,
          isThinking: model.thinking?.areOpen(after: tokens) ?? false)
      }
    }
    let owner = work.owner
    owner?.admitted(result)
    owner?.pump()
  }

  /// Submits one sequence for each choice; all or none.
  private func submit(_ prompt: EncodedPrompt, tokens: [Int32]) throws(ServingError) {
    let request = prompt.request
    let choices = (0..<request.choiceCount).map { choice in
      var sampling = request.sampling
      sampling.choice = UInt32(choice)
      return (
        id: model.engine.makeID(),
        submission: SequenceSubmission(
          prompt: tokens, sampling: sampling, stopping: request.stopping,
          priority: request.priority, deadline: request.deadline,
          tokenAllowance: prompt.tokenAllowance, thinking: model.thinking)
      )
    }
    do {
      try model.engine.submit(choices: choices, to: mailbox)
    } catch {
      throw ServingError(error)
    }
    let work = prompt.work
    work.sequences = choices.map(\.id)
    work.promptTokens = tokens.count
    adopt(work, running: work.sequences)
  }
}
