// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import RPC
internal import Step
internal import Support

/// Who a generation belongs to: the handler of its call. Called on the poller.
protocol GenerationOwner: AnyObject {
  /// The prompt is tokenised and the sequences run, or the generation was refused.
  func dispatched(_ key: UInt32, _ result: Result<Dispatcher.Admission, ServingError>)
  /// The engine says something of a choice.
  func received(_ event: SequenceEvent, generation key: UInt32, choice: Int)
  /// Everything that arrived together has been passed on: send what can be sent.
  func pump()
}

/// One poller's way to the engine and back: tokenises prompts on the aux thread, submits their
/// sequences, and passes each event to the generation it belongs to.
final class Dispatcher: @unchecked Sendable {  // all but the immutable is confined to the poller
  struct Admission: Sendable {
    var sequences: [SequenceID]
    var promptTokens: Int
  }

  private struct Route {
    var owner: any GenerationOwner
    var generation: UInt32
    var choice: Int
  }

  /// A prompt back from the aux thread.
  private struct EncodedPrompt: Sendable {
    var request: GenerationRequest
    var tokens: Result<[Int32], ServingError>
    var start: PendingStart
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
      for prompt in prompts.takeAll() { admit(prompt) }
      receive(events.takeAll())
    }
    check(isAdded, "a new poller takes a kick handler")
  }

  /// Begins a generation; `owner.dispatched` follows, later.
  func start(_ request: GenerationRequest, generation key: UInt32, owner: any GenerationOwner) {
    let start = PendingStart(owner: owner, generation: key)
    let queued = aux.submit { [self] in
      let tokens = Result { () throws(ServingError) in
        try PromptEncoder(model: model).encode(request.prompt)
      }
      prompts.deliver(EncodedPrompt(request: request, tokens: tokens, start: start))
      prompts.flush()
    }
    guard !queued else { return }
    owner.dispatched(
      key,
      .failure(
        ServingError(
          .resourceExhausted, "\(limits.waitingPrompts) prompts already wait to be tokenised",
          reason: "PROMPT_QUEUE_FULL", retryDelay: 1_000_000_000)))
  }

  /// Ends sequences; their last events still come. Ids that are over are ignored.
  func cancel(_ sequences: [SequenceID], reason: FinishReason) {
    for id in sequences where routes[id] != nil { model.engine.cancel(id, reason: reason) }
  }

  /// Forgets a generation whose call is gone: its sequences are ended and their events dropped.
  func abandon(_ sequences: [SequenceID]) {
    cancel(sequences, reason: .cancelled)
    for id in sequences { routes[id] = nil }
  }

  private func admit(_ prompt: EncodedPrompt) {
    let start = prompt.start
    let result = prompt.tokens.flatMap { tokens in
      Result { () throws(ServingError) in
        Admission(
          sequences: try submit(prompt.request, prompt: tokens, start), promptTokens: tokens.count)
      }
    }
    start.owner.dispatched(start.generation, result)
    start.owner.pump()
  }

  /// Submits one sequence for each choice; all or none.
  private func submit(
    _ request: GenerationRequest, prompt: [Int32], _ start: PendingStart
  ) throws(ServingError) -> [SequenceID] {
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
    for (choice, entry) in choices.enumerated() {
      routes[entry.id] = Route(owner: start.owner, generation: start.generation, choice: choice)
    }
    return choices.map(\.id)
  }

  private func receive(_ events: [SequenceEvent]) {
    var touched: [ObjectIdentifier: any GenerationOwner] = [:]
    for event in events {
      guard let route = routes[event.sequence] else { continue }
      if case .finished = event { routes[event.sequence] = nil }
      route.owner.received(event, generation: route.generation, choice: route.choice)
      touched[ObjectIdentifier(route.owner)] = route.owner
    }
    for owner in touched.values { owner.pump() }
  }

  /// Carries the owner over to the aux thread and back, untouched there.
  private final class PendingStart: @unchecked Sendable {  // used on the poller only
    let owner: any GenerationOwner
    let generation: UInt32

    init(owner: any GenerationOwner, generation: UInt32) {
      self.owner = owner
      self.generation = generation
    }
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
