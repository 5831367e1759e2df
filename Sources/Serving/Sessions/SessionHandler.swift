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
final class SessionHandler: ServerCallHandler, @unchecked Sendable {  // confined to the poller
  let lane: Lane
  private let call: ServerCall
  private let directory: ResumeDirectory
  private var running: [UInt32: SessionGeneration] = [:]
  /// Generations with something to say, in the order in which they may.
  private var ready = FIFO<SessionGeneration>()
  /// Answers that belong to no running generation: pongs, refusals, go-away. At most
  /// `ServingLimits.waitingStreamFrames`, and one for each generation that was lost, before reading
  /// pauses.
  private var streamFrames = FIFO<Silica_V1_ServerFrame>()
  private var streamFrameCount: UInt64 = 0
  private var loadReport = LoadReport()
  /// Numbers of generations that are on their way from another poller.
  private var claims: Set<UInt32> = []
  private var isReading = false
  /// Whether no generation can begin any more: the client has half-closed, or the server stops.
  private var isClosing = false
  /// Whether the call has its status, or is gone.
  private var isOver = false

  init(call: ServerCall, lane: Lane, directory: ResumeDirectory) {
    self.call = call
    self.lane = lane
    self.directory = directory
    readMore()
    lane.loadListeners.add(self)
    lane.sessions.add(self)
  }

  // MARK: The call

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
    for generation in running.values where !lane.resumable.detach(generation) {
      generation.abandon()
      lane.sessions.generationEnded(generation)
    }
    running = [:]
    ready = FIFO()
    lane.loadListeners.remove(self)
    lane.sessions.remove(self)
  }

  /// Reading pauses while many answers wait: a client that does not read is not read either.
  private func readMore() {
    let hasRoom = streamFrames.count < lane.dispatcher.limits.waitingStreamFrames
    guard !isReading, !isClosing, !isOver, hasRoom else { return }
    isReading = true
    call.read()
  }

  // MARK: Frames of the client

  private func take(_ frame: Silica_V1_ClientFrame) {
    let key = frame.generation
    do throws(ServingError) {
      switch frame.frame {
      case .start(let start): try begin(key, start)
      case .cancel: try generation(key).cancel()
      case .credit(let credit): try take(credit, for: key)
      case .update(let update): try generation(key).update(update)
      case .resume(let resume): try self.resume(key, resume)
      case .ping(let ping): push(.pong(.with { $0.nonce = ping.nonce }), about: 0)
      case nil:
        throw ServingError(
          .invalidArgument,
          "frame is none that this server knows; expected start, cancel, credit, update, resume or "
            + "ping", reason: "UNKNOWN_FRAME", field: "frame")
      }
    } catch {
      refuse(key, error)
    }
  }

  private func generation(_ key: UInt32) throws(ServingError) -> SessionGeneration {
    guard let generation = running[key] else {
      throw ServingError(
        .notFound, "generation \(key) is not running on this stream",
        reason: "UNKNOWN_GENERATION", field: "generation")
    }
    return generation
  }

  private func begin(_ key: UInt32, _ start: Silica_V1_Start) throws(ServingError) {
    try checkRoom(for: key)
    try lane.sessions.checkIsAccepting()
    let ticket = try call.admitGeneration()
    let dispatcher = lane.dispatcher
    let reader = RequestReader(model: dispatcher.model, limits: dispatcher.limits)
    let request = try reader.read(
      start, arrival: Clock.nowNanoseconds, callDeadline: call.deadline)
    running[key] = try SessionGeneration(
      request, key: key, ticket: ticket, stream: self, dispatcher: dispatcher)
    lane.sessions.generationBegan()
  }

  private func checkRoom(for key: UInt32) throws(ServingError) {
    guard key != 0 else {
      throw .invalid("generation", "generation is 0; expected a number of the client's choice")
    }
    guard running[key] == nil, !claims.contains(key) else {
      throw ServingError(
        .alreadyExists, "generation \(key) is running on this stream; expected a free number",
        reason: "GENERATION_IN_USE", field: "generation")
    }
    let count = running.count + claims.count
    guard count < lane.dispatcher.limits.generationsPerStream else {
      throw ServingError(
        .resourceExhausted, "\(count) generations run on this stream, as many as may",
        reason: "STREAM_FULL", retryDelay: 1_000_000_000)
    }
  }

  private func take(_ credit: Silica_V1_Credit, for key: UInt32) throws(ServingError) {
    guard credit.tokens > 0 else {
      throw .invalid("credit.tokens", "credit.tokens is 0; expected 1 or more")
    }
    try generation(key).add(credit: Int(credit.tokens))
  }

  // MARK: Resuming

  private func resume(_ key: UInt32, _ message: Silica_V1_Resume) throws(ServingError) {
    try checkRoom(for: key)
    guard let home = directory.lane(of: message.token) else { throw ResumableGenerations.unknown }
    let number = message.afterSequence
    let tenant = call.tenant
    if home === lane {
      let generation = try lane.resumable.release(message.token, after: number, to: tenant)
      return attach(generation, key, after: number)
    }
    claims.insert(key)
    let isSubmitted = home.poller.submit { [self, lane] in
      let result = Result { () throws(ServingError) in
        let generation = try home.resumable.release(message.token, after: number, to: tenant)
        home.resumable.remove(generation)
        directory.set(message.token, to: lane)
        return (generation, running: generation.leave(for: lane.dispatcher))
      }
      lane.dispatcher.mailbox.deliver(.job { [self] in arrived(key, result, after: number) })
    }
    guard isSubmitted else {
      claims.remove(key)
      throw ServingError(
        .resourceExhausted, "the poller of the generation takes no more jobs", reason: "BUSY",
        retryDelay: 100_000_000)
    }
  }

  /// A generation has come from another poller, or was refused there.
  private func arrived(
    _ key: UInt32,
    _ result: Result<(SessionGeneration, running: [SequenceID]), ServingError>,
    after number: UInt64
  ) {
    claims.remove(key)
    switch result {
    case .failure(let error):
      refuse(key, error)
    case .success((let generation, let sequences)):
      generation.arrive(at: lane.dispatcher, running: sequences)
      lane.resumable.add(generation, on: lane)
      if isOver {
        _ = lane.resumable.detach(generation)
      } else {
        attach(generation, key, after: number)
        // The server has ended all others while it was on its way.
        if let end = lane.sessions.end { generation.fail(end) }
      }
    }
    pump()
  }

  private func attach(_ generation: SessionGeneration, _ key: UInt32, after number: UInt64) {
    generation.attach(to: self, key: key, after: number)
    running[key] = generation
    hasNews(generation)
    if generation.isOver { remove(generation) }
  }

  /// Another stream resumes the generation.
  func lose(_ generation: SessionGeneration) {
    let key = generation.key
    running[key] = nil
    generation.detach()
    let error = ServingError(
      .aborted, "generation \(key) was resumed on another stream", reason: "RESUMED_ELSEWHERE")
    streamFrames.append(
      .with { frame in
        frame.generation = key
        frame.sequence = generation.lastWordNumber
        frame.failed.status = error.status
      })
    pump()
  }

  // MARK: To the client

  func wasAdmitted(_ generation: SessionGeneration) {
    lane.resumable.add(generation, on: lane)
    hasNews(generation)
  }

  /// A generation of this stream may have something to say.
  func hasNews(_ generation: SessionGeneration) {
    guard !generation.isQueued, generation.hasFrame else { return }
    generation.isQueued = true
    ready.append(generation)
    // What still waits now waits for the client to read.
    if !isOver, !call.isReadyToSend { generation.noteBlocked() }
  }

  /// A frame that the stream or the named generation cannot take.
  func refuse(_ key: UInt32, _ error: ServingError) {
    var failed = Silica_V1_Failed()
    failed.status = error.status
    failed.generationContinues = running[key] != nil
    push(.failed(failed), about: key)
  }

  /// Queues a frame that goes before those of generations; so it has its number already.
  private func push(_ content: Silica_V1_ServerFrame.OneOf_Frame, about key: UInt32) {
    var frame = Silica_V1_ServerFrame()
    frame.generation = key
    frame.frame = content
    if let generation = running[key] {
      frame.sequence = generation.takeNumber()
      generation.keep(frame)
    } else if key == 0 {
      streamFrameCount += 1
      frame.sequence = streamFrameCount
    } else {
      // A generation that never began here has one frame, which says so.
      frame.sequence = 1
    }
    streamFrames.append(frame)
  }

  /// Tells the client how busy the server is, as soon as it reads.
  func tell(_ load: Silica_V1_Load) {
    loadReport.note(load)
    pump()
  }

  /// A frame about the load that is so when it is sent; not queued, so it has its number now.
  private func loadFrame() -> Silica_V1_ServerFrame? {
    // The end of the last generation is the last frame of a stream that closes.
    guard !hasSaidAll, let load = loadReport.take() else { return nil }
    streamFrameCount += 1
    return .with { frame in
      frame.sequence = streamFrameCount
      frame.load = load
    }
  }

  func pump() {
    guard !isOver else { return }
    while call.isReadyToSend {
      if let frame = streamFrames.popFirst() ?? loadFrame() {
        call.send(frame)
      } else if let generation = ready.popFirst() {
        // It may have left since it was queued.
        if generation.isQueued, generation.stream === self { send(generation) }
      } else {
        break
      }
    }
    if hasSaidAll {
      isOver = true
      call.finish(.ok)
    }
  }

  private var hasSaidAll: Bool {
    isClosing && running.isEmpty && claims.isEmpty && streamFrames.isEmpty
  }

  private func send(_ generation: SessionGeneration) {
    generation.isQueued = false
    guard generation.hasFrame else { return }
    generation.sendFrame(on: call)
    if generation.isOver { remove(generation) } else { hasNews(generation) }
  }

  /// A generation has said all.
  private func remove(_ generation: SessionGeneration) {
    running[generation.key] = nil
    lane.sessions.generationEnded(generation)
    if !lane.resumable.detach(generation) { generation.detach() }
  }
}

// MARK: - The end of the server

extension SessionHandler: DrainableHandler {
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
    for generation in running.values { generation.fail(error) }
    isClosing = true
    pump()
  }
}
