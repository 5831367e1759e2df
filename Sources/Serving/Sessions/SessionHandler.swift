// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Step
internal import Support
internal import Wire

/// The server's side of one `Session` call: many generations on one stream.
///
/// Confined to the call's poller. One message is in flight at a time; when it is out, the next
/// generation with something to say has its turn, and what gathered meanwhile goes in one frame.
final class SessionHandler: ServerCallHandler, GenerationOwner {
  private struct Running {
    var generation: Generation
    let work: EngineWork
    var frameCount: UInt64 = 0
  }

  private let call: ServerCall
  private let dispatcher: Dispatcher
  private let registry: SessionRegistry
  private var running: [UInt32: Running] = [:]
  /// Generations in the order in which they may speak.
  private var turns: [UInt32] = []
  /// Answers that belong to no running generation: pongs, refusals, go-away.
  private var streamFrames: [Silica_V1_ServerFrame] = []
  private var streamFrameCount: UInt64 = 0
  private var isReading = false
  /// Whether no generation can begin any more: the client has half-closed, or the server stops.
  private var isClosing = false
  /// Whether the call has its status, or is gone.
  private var isOver = false

  init(call: ServerCall, dispatcher: Dispatcher, registry: SessionRegistry) {
    self.call = call
    self.dispatcher = dispatcher
    self.registry = registry
    registry.add(self)
    readMore()
  }

  // MARK: From the client

  func received(_ message: RawSpan, on call: ServerCall) {
    isReading = false
    guard !isOver else { return }
    do {
      take(try Silica_V1_ClientFrame(decoding: message))
    } catch {
      refuse(
        0, ServingError(.invalidArgument, "undecodable frame: \(error)", reason: "BAD_FRAME"))
    }
    readMore()
    pump()
  }

  func receivedEnd(on call: ServerCall) {
    isClosing = true
    pump()
  }

  func readyToSend(on call: ServerCall) {
    pump()
    readMore()
  }

  func ended(on call: ServerCall, wasCancelled: Bool) {
    isOver = true
    for entry in running.values { dispatcher.abandon(entry.work) }
    registry.generationsEnded(running.count)
    running = [:]
    registry.remove(self)
  }

  /// Reading pauses while many answers wait: a client that does not read is not read either.
  private func readMore() {
    let hasRoom = streamFrames.count < dispatcher.limits.waitingStreamFrames
    guard !isReading, !isClosing, !isOver, hasRoom else { return }
    isReading = true
    call.read()
  }

  private func take(_ frame: Silica_V1_ClientFrame) {
    let key = frame.generation
    switch frame.frame {
    case .start(let start): begin(key, start)
    case .cancel: cancel(key)
    case .ping(let ping):
      var pong = Silica_V1_Pong()
      pong.nonce = ping.nonce
      push(.pong(pong), about: 0)
    case .credit: refuse(key, Self.unsupported("credit"))
    case .update: refuse(key, Self.unsupported("update"))
    case .resume: refuse(key, Self.unsupported("resume"))
    case nil:
      refuse(
        key,
        ServingError(
          .invalidArgument,
          "frame is none that this server knows; expected start, cancel or ping",
          reason: "UNKNOWN_FRAME", field: "frame"))
    }
  }

  private static func unsupported(_ name: String) -> ServingError {
    ServingError(
      .unimplemented, "'\(name)' frames are not supported by this server",
      reason: "UNSUPPORTED_FRAME", field: name)
  }

  // MARK: Generations

  private func begin(_ key: UInt32, _ start: Silica_V1_Start) {
    do {
      try checkRoom(for: key)
      let reader = RequestReader(model: dispatcher.model, limits: dispatcher.limits)
      let request = try reader.read(
        start, arrival: Clock.nowNanoseconds, callDeadline: call.deadline)
      running[key] = Running(
        generation: try Generation(request, model: dispatcher.model),
        work: try dispatcher.start(request, generation: key, owner: self))
      turns.append(key)
      registry.generationBegan()
    } catch {
      refuse(key, error)
    }
  }

  private func checkRoom(for key: UInt32) throws(ServingError) {
    guard key != 0 else {
      throw .invalid("generation", "generation is 0; expected a number of the client's choice")
    }
    guard running[key] == nil else {
      throw ServingError(
        .alreadyExists, "generation \(key) is running on this stream; expected a free number",
        reason: "GENERATION_IN_USE", field: "generation")
    }
    guard running.count < dispatcher.limits.generationsPerStream else {
      throw ServingError(
        .resourceExhausted,
        "\(running.count) generations run on this stream, as many as may",
        reason: "STREAM_FULL", retryDelay: 1_000_000_000)
    }
    try registry.checkIsAccepting()
  }

  private func cancel(_ key: UInt32) {
    guard let action = running[key]?.generation.cancel() else {
      return refuse(
        key,
        ServingError(
          .notFound, "generation \(key) is not running on this stream",
          reason: "UNKNOWN_GENERATION", field: "generation"))
    }
    perform(action, on: key)
  }

  func admitted(_ key: UInt32, _ result: Result<Generation.Admission, ServingError>) {
    switch result {
    case .success(let admission): running[key]?.generation.admit(admission, model: dispatcher.model)
    case .failure(let error): fail(key, error)
    }
  }

  func received(_ event: SequenceEvent, generation key: UInt32, choice: Int) {
    if let action = running[key]?.generation.apply(event, choice: choice) {
      perform(action, on: key)
    }
  }

  private func fail(_ key: UInt32, _ error: ServingError) {
    if let action = running[key]?.generation.fail(error) { perform(action, on: key) }
  }

  private func perform(_ action: Generation.Action, on key: UInt32) {
    if let work = running[key]?.work { dispatcher.perform(action, for: work) }
  }

  // MARK: To the client

  /// A frame that the stream or the named generation cannot take.
  private func refuse(_ key: UInt32, _ error: ServingError) {
    var failed = Silica_V1_Failed()
    failed.status = error.status
    failed.generationContinues = running[key] != nil
    push(.failed(failed), about: key)
  }

  /// Queues a frame that goes before those of generations; so it has its number already.
  private func push(_ content: Silica_V1_ServerFrame.OneOf_Frame, about key: UInt32) {
    var frame = Silica_V1_ServerFrame()
    frame.generation = key
    frame.sequence = nextSequence(of: key)
    frame.frame = content
    streamFrames.append(frame)
  }

  /// Tells the client that the server is about to stop. Running generations go on.
  func goAway(_ reason: String, grace: Duration) {
    var message = Silica_V1_GoAway()
    message.reason = reason
    let (seconds, attoseconds) = grace.components
    message.graceMs = UInt32(clamping: seconds * 1_000 + attoseconds / 1_000_000_000_000_000)
    push(.goAway(message), about: 0)
    pump()
  }

  /// Ends what still runs, each with its own last frame; then the call ends.
  func endAll(_ error: ServingError) {
    for key in turns { fail(key, error) }
    isClosing = true
    pump()
  }

  func pump() {
    guard !isOver else { return }
    if call.isReadyToSend, let frame = nextFrame() { call.send(frame) }
    noteBlocked()
    if isClosing, running.isEmpty, streamFrames.isEmpty {
      isOver = true
      call.finish(.ok)
    }
  }

  /// What still waits now waits for the client to read.
  private func noteBlocked() {
    let now = Clock.nowNanoseconds
    for key in turns where running[key]?.generation.hasEvent == true {
      running[key]?.generation.noteBlocked(now: now)
    }
  }

  private func nextFrame() -> Silica_V1_ServerFrame? {
    if !streamFrames.isEmpty { return streamFrames.removeFirst() }
    let now = Clock.nowNanoseconds
    for (position, key) in turns.enumerated() {
      guard let event = running[key]?.generation.takeEvent(now: now) else { continue }
      var frame = Silica_V1_ServerFrame()
      frame.generation = key
      frame.frame = event.frame
      frame.sequence = nextSequence(of: key)
      turns.remove(at: position)
      if running[key]?.generation.isOver == true {
        running[key] = nil
        registry.generationsEnded(1)
      } else {
        turns.append(key)
      }
      return frame
    }
    return nil
  }

  private func nextSequence(of key: UInt32) -> UInt64 {
    guard key != 0 else {
      streamFrameCount += 1
      return streamFrameCount
    }
    // A generation that never began has one frame, which says so.
    guard running[key] != nil else { return 1 }
    running[key]?.frameCount += 1
    return running[key]?.frameCount ?? 0
  }
}

extension Generation.Event {
  /// The event as a frame of a session.
  fileprivate var frame: Silica_V1_ServerFrame.OneOf_Frame {
    switch self {
    case .accepted(let message): .accepted(message)
    case .progress(let message): .progress(message)
    case .delta(let message): .delta(message)
    case .finished(let message): .finished(message)
    case .failed(let error): .failed(.with { $0.status = error.status })
    }
  }
}
