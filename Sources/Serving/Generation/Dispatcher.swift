// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import RPC
internal import Step
internal import Support

/// Who a generation belongs to: the handler of its call. Called on the poller; never about work
/// that it abandoned.
protocol GenerationOwner: AnyObject {
  /// The prompt is tokenised and the sequences are in the engine, or the generation was refused.
  func admitted(_ key: UInt32, _ result: Result<Generation.Admission, ServingError>)
  /// The engine says something of a choice.
  func received(_ event: SequenceEvent, generation key: UInt32, choice: Int)
  /// Everything that arrived together has been passed on: send what can be sent.
  func pump()
}

/// One poller's way to the engine and back: tokenises prompts on the aux thread, submits their
/// sequences, and passes each event to the generation it belongs to.
final class Dispatcher: @unchecked Sendable {  // all but the immutable is confined to the poller
  private struct Route {
    var work: EngineWork
    var choice: Int
  }

  /// A prompt back from the aux thread.
  private struct EncodedPrompt: Sendable {
    var request: GenerationRequest
    var tokens: Result<[Int32], ServingError>
    var work: EngineWork
  }

  let model: ServedModel
  let limits: ServingLimits
  private let aux: AuxThread
  private let events: Mailbox<SequenceEvent>
  private let prompts: Mailbox<EncodedPrompt>
  private var routes: [SequenceID: Route] = [:]

  /// A dispatcher lives as long as its poller.
  init(model: ServedModel, limits: ServingLimits, poller: Poller, aux: AuxThread) {
    self.model = model
    self.limits = limits
    self.aux = aux
    events = Mailbox(poller: poller)
    prompts = Mailbox(poller: poller)
    let isAdded = poller.addKickHandler { [self] in
      for prompt in prompts.takeAll() where !prompt.work.isAbandoned { admit(prompt) }
      receive(events.takeAll())
    }
    check(isAdded, "a new poller takes a kick handler")
  }

  /// Begins a generation; `owner.admitted` follows, later.
  func start(
    _ request: GenerationRequest, generation key: UInt32, owner: any GenerationOwner
  ) throws(ServingError) -> EngineWork {
    let work = EngineWork(owner: owner, generation: key)
    let isQueued = aux.submit { [self] in
      guard !work.isAbandoned else { return }
      let tokens = Result { () throws(ServingError) in
        try PromptEncoder(model: model).encode(request.prompt)
      }
      prompts.deliver(EncodedPrompt(request: request, tokens: tokens, work: work))
      prompts.flush()
    }
    guard isQueued else {
      throw ServingError(
        .resourceExhausted, "\(limits.waitingPrompts) prompts already wait to be tokenised",
        reason: "PROMPT_QUEUE_FULL", retryDelay: 1_000_000_000)
    }
    return work
  }

  /// Does what a generation asks for.
  func perform(_ action: Generation.Action, for work: EngineWork) {
    switch action {
    case .none: break
    case .endChoice(let choice): end([work.sequences[choice]], reason: .stopString)
    case .cancel: end(work.sequences, reason: .cancelled)
    case .abandon: abandon(work)
    }
  }

  /// Forgets work that nobody waits for: its sequences are ended and their events dropped.
  func abandon(_ work: EngineWork) {
    work.markAbandoned()
    end(work.sequences, reason: .cancelled)
    for id in work.sequences { routes[id] = nil }
  }

  /// Ends sequences; their last events still come. Ids that are over are ignored.
  private func end(_ sequences: [SequenceID], reason: FinishReason) {
    for id in sequences where routes[id] != nil { model.engine.cancel(id, reason: reason) }
  }

  private func admit(_ prompt: EncodedPrompt) {
    let work = prompt.work
    let result = prompt.tokens.flatMap { tokens in
      Result { () throws(ServingError) in
        try submit(prompt.request, prompt: tokens, work)
        return Generation.Admission(promptTokens: tokens.count, seed: prompt.request.sampling.seed)
      }
    }
    work.owner.admitted(work.generation, result)
    work.owner.pump()
  }

  /// Submits one sequence for each choice; all or none.
  private func submit(
    _ request: GenerationRequest, prompt: [Int32], _ work: EngineWork
  ) throws(ServingError) {
    let choices = (0..<request.choiceCount).map { choice in
      var sampling = request.sampling
      sampling.choice = UInt32(choice)
      return (
        id: model.engine.makeID(),
        submission: SequenceSubmission(
          prompt: prompt, sampling: sampling, stopping: request.stopping,
          priority: request.priority, deadline: request.deadline)
      )
    }
    do {
      try model.engine.submit(choices: choices, to: events)
    } catch {
      throw ServingError(error)
    }
    work.sequences = choices.map(\.id)
    for (choice, id) in work.sequences.enumerated() {
      routes[id] = Route(work: work, choice: choice)
    }
  }

  private func receive(_ events: [SequenceEvent]) {
    var touched: [ObjectIdentifier: any GenerationOwner] = [:]
    for event in events {
      guard let route = routes[event.sequence] else { continue }
      if case .finished = event { routes[event.sequence] = nil }
      let owner = route.work.owner
      owner.received(event, generation: route.work.generation, choice: route.choice)
      touched[ObjectIdentifier(owner)] = owner
    }
    for owner in touched.values { owner.pump() }
  }
}

extension SequenceEvent {
  /// The sequence it is about.
  fileprivate var sequence: SequenceID {
    switch self {
    case .prefilled(let id, _), .token(let id, _, _), .finished(let id, _, _): id
    }
  }
}
