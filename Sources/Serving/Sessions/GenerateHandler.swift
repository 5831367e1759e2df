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
  private var generation: Generation?
  private var work: EngineWork?
  /// Whether the call has its status, or is gone.
  private var isOver = false

  init(call: ServerCall, dispatcher: Dispatcher, registry: SessionRegistry) {
    self.call = call
    self.dispatcher = dispatcher
    self.registry = registry
    registry.add(self)
    call.read()
  }

  func received(_ message: RawSpan, on call: ServerCall) {
    guard !isOver else { return }
    do {
      try begin(message)
    } catch {
      finish(error.rpcStatus)
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
    let generation = try Generation(request, model: dispatcher.model)
    work = try dispatcher.start(request, generation: 1, owner: self)
    self.generation = generation
    registry.generationBegan()
  }

  func receivedEnd(on call: ServerCall) {
    let error = ServingError(
      .invalidArgument, "the call ended without a request", reason: "BAD_FRAME")
    if generation == nil { finish(error.rpcStatus) }
  }

  func readyToSend(on call: ServerCall) { pump() }

  func ended(on call: ServerCall, wasCancelled: Bool) {
    isOver = true
    if let work { dispatcher.abandon(work) }
    if generation != nil { registry.generationsEnded(1) }
    registry.remove(self)
    // The work knows its owner, so one of them has to let go of the other.
    work = nil
    generation = nil
  }

  // MARK: From the engine

  func admitted(_ key: UInt32, _ result: Result<Generation.Admission, ServingError>) {
    switch result {
    case .success(let admission): generation?.admit(admission, model: dispatcher.model)
    case .failure(let error): endAll(error)
    }
  }

  func received(_ event: SequenceEvent, generation key: UInt32, choice: Int) {
    guard let work, let action = generation?.apply(event, choice: choice) else { return }
    dispatcher.perform(action, for: work)
  }

  // MARK: To the client

  /// Ends the call by an error.
  func endAll(_ error: ServingError) {
    guard let work, let action = generation?.fail(error) else { return finish(error.rpcStatus) }
    dispatcher.perform(action, for: work)
    pump()
  }

  /// There is nothing to tell a client of one generation: it goes on.
  func goAway(_ reason: String, grace: Duration) {}

  func pump() {
    guard !isOver else { return }
    if call.isReadyToSend, let event = generation?.takeEvent(now: Clock.nowNanoseconds) {
      send(event)
    }
    if generation?.hasEvent == true { generation?.noteBlocked(now: Clock.nowNanoseconds) }
  }

  private func send(_ event: Generation.Event) {
    var response = Silica_V1_GenerateResponse()
    switch event {
    case .accepted(let message): response.event = .accepted(message)
    case .progress(let message): response.event = .progress(message)
    case .delta(let message): response.event = .delta(message)
    case .finished(let message): response.event = .finished(message)
    case .failed(let error): return finish(error.rpcStatus)
    }
    call.send(response)
    if generation?.isOver == true { finish(.ok) }
  }

  /// Ends the call, after the message in flight; once.
  private func finish(_ status: Status) {
    guard !isOver else { return }
    isOver = true
    call.finish(status)
  }
}
