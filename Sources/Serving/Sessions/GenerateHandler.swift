// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Step
internal import Support
internal import Wire

/// The server's side of one `Generate` call: one generation, whose error is the call's status.
///
/// Confined to the call's poller.
final class GenerateHandler: ServerCallHandler, GenerationOwner, DrainableHandler {
  private let call: ServerCall
  private let lane: Lane
  private var generation: Generation?
  private var work: EngineWork?
  private var ticket: GenerationTicket?
  /// Whether the call has its status, or is gone.
  private var isOver = false

  init(call: ServerCall, lane: Lane) {
    self.call = call
    self.lane = lane
    call.read()
    lane.sessions.add(self)
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
    try lane.sessions.checkIsAccepting()
    ticket = try call.admitGeneration()
    try RequestReader.checkNeedsNoSession(start)
    let dispatcher = lane.dispatcher
    let reader = RequestReader(model: dispatcher.model, limits: dispatcher.limits)
    let request = try reader.read(
      start, arrival: Clock.nowNanoseconds, callDeadline: call.deadline)
    let generation = try Generation(
      request, model: dispatcher.model, unsentTokensMax: dispatcher.limits.unsentTokens)
    work = try dispatcher.start(
      request, tokenAllowance: generation.initialAllowance, owner: self)
    self.generation = generation
    lane.sessions.generationBegan()
  }

  func receivedEnd(on call: ServerCall) {
    let error = ServingError(
      .invalidArgument, "the call ended without a request", reason: "BAD_FRAME")
    if generation == nil { finish(error.rpcStatus) }
  }

  func readyToSend(on call: ServerCall) { pump() }

  func ended(on call: ServerCall, wasCancelled: Bool) {
    isOver = true
    if let work { lane.dispatcher.abandon(work) }
    if generation != nil { lane.sessions.generationEnded() }
    lane.sessions.remove(self)
    work = nil
    generation = nil
    ticket = nil
  }

  // MARK: From the engine

  func admitted(_ result: Result<Generation.Admission, ServingError>) {
    switch result {
    case .success(let admission):
      if let action = generation?.admit(admission, model: lane.dispatcher.model) {
        perform(action)
      }
    case .failure(let error): endAll(error)
    }
  }

  func received(_ event: SequenceEvent, choice: Int) {
    if let action = generation?.apply(event, choice: choice) { perform(action) }
  }

  private func perform(_ action: Generation.Action) {
    guard let work else { return }
    do {
      try lane.dispatcher.perform(action, for: work)
    } catch {
      finish(error.rpcStatus)
    }
  }

  // MARK: To the client

  /// Ends the call by an error.
  func endAll(_ error: ServingError) {
    guard work != nil, let action = generation?.fail(error) else {
      return finish(error.rpcStatus)
    }
    perform(action)
    pump()
  }

  /// There is nothing to tell a client of one generation: it goes on.
  func goAway(_ reason: String, grace: Duration) {}

  func pump() {
    guard !isOver else { return }
    if call.isReadyToSend, !sendDelta(),
      let event = generation?.takeEvent(now: Clock.nowNanoseconds)
    {
      send(event)
    }
    if generation?.hasEvent == true { generation?.noteBlocked(now: Clock.nowNanoseconds) }
  }

  /// Sends a delta straight from its buffers, if that is what comes next.
  private func sendDelta() -> Bool {
    let tokenCount = generation?.takeDeltaFrame(now: Clock.nowNanoseconds) { call.send($0, nil) }
    guard let tokenCount else { return false }
    noteSent(tokens: tokenCount)
    return true
  }

  private func send(_ event: Generation.Event) {
    var response = Silica_V1_GenerateResponse()
    switch event {
    case .accepted(let message): response.event = .accepted(message)
    case .progress(let message): response.event = .progress(message)
    case .delta(let message, _): response.event = .delta(message)
    case .finished(let message): response.event = .finished(message)
    case .failed(let error): return finish(error.rpcStatus)
    }
    call.send(response)
    if case .delta(_, let tokenCount) = event { noteSent(tokens: tokenCount) }
    if generation?.isOver == true { finish(endStatus) }
  }

  /// What the client's own clock says after the call's deadline, whichever of the two is first.
  private var endStatus: Status {
    guard let deadline = call.deadline, Clock.nowNanoseconds >= deadline else { return .ok }
    return Status(.deadlineExceeded, "the deadline of the call has passed")
  }

  private func noteSent(tokens count: Int) {
    lane.dispatcher.noteSent(tokens: count)
    guard let work else { return }
    while let (choice, tokens) = generation?.takeAllowance() {
      lane.dispatcher.allow(work, choice: choice, tokens: tokens)
    }
  }

  /// Ends the call, after the message in flight; once.
  private func finish(_ status: Status) {
    guard !isOver else { return }
    isOver = true
    // Before the client hears of it, so that it may begin the next one at once.
    ticket = nil
    call.finish(status)
  }
}
