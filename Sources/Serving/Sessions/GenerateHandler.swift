// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Step
internal import Support
internal import Wire

/// The server's side of one `Generate` call: one generation, whose error is the call's status.
///
/// Confined to the call's poller.
final class GenerateHandler: ServerCallHandler, GenerationOwner {
  private let call: ServerCall
  private let dispatcher: Dispatcher
  private let registry: SessionRegistry
  private var request: GenerationRequest?
  private var generation: Generation?
  private var sequences: [SequenceID] = []
  private var isOver = false

  init(call: ServerCall, dispatcher: Dispatcher, registry: SessionRegistry) {
    self.call = call
    self.dispatcher = dispatcher
    self.registry = registry
    registry.add(self)
    call.read()
  }

  func received(_ message: RawSpan, on call: ServerCall) {
    do {
      try begin(message)
    } catch {
      call.finish(error.rpcStatus)
    }
  }

  private func begin(_ message: RawSpan) throws(ServingError) {
    let start: Silica_V1_Start
    do {
      start = try Silica_V1_GenerateRequest(decoding: message).start
    } catch {
      throw ServingError(.invalidArgument, "undecodable request: \(error)", reason: "BAD_FRAME")
    }
    try registry.checkIsAccepting()
    let reader = RequestReader(model: dispatcher.model, limits: dispatcher.limits)
    let request = try reader.read(
      start, arrival: Clock.nowNanoseconds, callDeadline: call.deadline)
    self.request = request
    generation = try Generation(request, model: dispatcher.model)
    registry.generationBegan()
    dispatcher.start(request, generation: 1, owner: self)
  }

  func receivedEnd(on call: ServerCall) {
    let error = ServingError(
      .invalidArgument, "the call ended without a request", reason: "BAD_FRAME")
    if generation == nil { call.finish(error.rpcStatus) }
  }

  func readyToSend(on call: ServerCall) { pump() }

  func ended(on call: ServerCall, wasCancelled: Bool) {
    isOver = true
    dispatcher.abandon(sequences)
    if generation != nil { registry.generationsEnded(1) }
    registry.remove(self)
  }

  // MARK: From the engine

  func dispatched(_ key: UInt32, _ result: Result<Dispatcher.Admission, ServingError>) {
    switch result {
    case .success(let admission) where isOver: dispatcher.abandon(admission.sequences)
    case .success(let admission):
      sequences = admission.sequences
      guard let request else { return }
      generation?.admit(
        admission.sequences, request: request, promptTokens: admission.promptTokens,
        model: dispatcher.model)
    case .failure(let error): endAll(error)
    }
  }

  func received(_ event: SequenceEvent, generation key: UInt32, choice: Int) {
    guard let action = generation?.apply(event, choice: choice) else { return }
    perform(action)
  }

  private func perform(_ action: Generation.Action) {
    if case .cancel(let sequences, let reason) = action {
      dispatcher.cancel(sequences, reason: reason)
    }
  }

  // MARK: To the client

  /// Ends the call by an error.
  func endAll(_ error: ServingError) {
    guard !isOver else { return }
    guard let action = generation?.fail(error) else { return call.finish(error.rpcStatus) }
    perform(action)
    pump()
  }

  /// There is nothing to tell a client of one generation: it goes on.
  func goAway(_ reason: String, grace: Duration) {}

  func pump() {
    guard !isOver, generation != nil else { return }
    guard call.isReadyToSend else {
      if generation?.hasEvent == true { generation?.noteBlocked(now: Clock.nowNanoseconds) }
      return
    }
    var response = Silica_V1_GenerateResponse()
    switch generation?.takeEvent(now: Clock.nowNanoseconds) {
    case nil: return
    case .accepted(let message): response.event = .accepted(message)
    case .progress(let message): response.event = .progress(message)
    case .delta(let message): response.event = .delta(message)
    case .finished(let message): response.event = .finished(message)
    case .failed(let error):
      return call.finish(error.rpcStatus)
    }
    call.send(response)
    if generation?.isOver == true { call.finish(.ok) }
  }
}
