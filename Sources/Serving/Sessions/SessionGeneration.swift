// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Step
internal import Support
internal import Wire

/// One generation of a session: its frames, numbered; whether it is on a stream; and, if it can be
/// resumed, the frames that were sent.
///
/// Confined to one poller at a time: that of its stream, or of its last one while it has none.
final class SessionGeneration: GenerationOwner, @unchecked Sendable {
  /// What resuming needs.
  struct Resumption {
    let token: String
    /// How long it lives without a stream.
    let time: Nanoseconds
    var sent: ReplayRing
  }

  /// The client's number for it, on its present stream.
  private(set) var key: UInt32
  /// nil while it waits to be resumed, and after its end.
  private(set) var stream: SessionHandler?
  private let generation: Generation
  private(set) var resumption: Resumption?
  /// When it ends for want of a stream.
  var expiry: Nanoseconds?
  /// Whether the stream has it in its queue of those with something to say.
  var isQueued = false
  /// Whether it counts among those that the server has begun and not ended.
  var isCounted = true
  /// Whose it is, who alone may resume it; nil where no tokens are asked for.
  let tenant: Tenant?
  /// Its place among those of its tenant; until it has ended.
  var ticket: GenerationTicket?

  private(set) var dispatcher: Dispatcher
  private var work: EngineWork?
  private var frameCount: UInt64 = 0
  /// The number of the next frame to be sent again.
  private var replayNumber: UInt64?

  /// Begins it; throws if it is refused at once.
  init(
    _ request: GenerationRequest, key: UInt32, ticket: GenerationTicket?, stream: SessionHandler,
    dispatcher: Dispatcher
  ) throws(ServingError) {
    self.key = key
    self.ticket = ticket
    tenant = ticket?.tenant
    self.stream = stream
    self.dispatcher = dispatcher
    generation = try Generation(
      request, model: dispatcher.model, unsentTokensMax: dispatcher.limits.unsentTokens)
    resumption = request.resumeTime.map {
      Resumption(
        token: ResumeDirectory.makeToken(), time: $0,
        sent: ReplayRing(byteCountMax: dispatcher.limits.replayBytes))
    }
    work = try dispatcher.start(
      request, tokenAllowance: generation.initialAllowance, owner: self)
  }

  /// Whether all has been said, and said again if that was asked for.
  var isOver: Bool { generation.isOver && replayNumber == nil }

  var hasFrame: Bool { replayNumber != nil || generation.hasEvent }

  // MARK: From the engine

  func admitted(_ result: Result<Generation.Admission, ServingError>) {
    switch result {
    case .success(let admission):
      let token = resumption?.token ?? ""
      perform(generation.admit(admission, model: dispatcher.model, resumeToken: token))
      stream?.wasAdmitted(self)
    case .failure(let error): fail(error)
    }
  }

  func received(_ event: SequenceEvent, choice: Int) {
    perform(generation.apply(event, choice: choice))
    if !isQueued { stream?.hasNews(self) }
  }

  func pump() { stream?.pump() }

  // MARK: From the client and the server

  func fail(_ error: ServingError) {
    perform(generation.fail(error))
    stream?.hasNews(self)
  }

  func cancel() {
    perform(generation.cancel())
    stream?.hasNews(self)
  }

  func add(credit tokens: Int) {
    generation.add(credit: tokens)
    tellAllowances()
  }

  func update(_ message: Silica_V1_Update) throws(ServingError) {
    let action = try generation.update(
      message, model: dispatcher.model, now: Clock.nowNanoseconds)
    if let work { try dispatcher.perform(action, for: work) }
  }

  /// Forgets it: nobody will hear of it.
  func abandon() {
    stream = nil
    if let work { dispatcher.abandon(work) }
    work = nil
  }

  private func perform(_ action: Generation.Action) {
    guard let work else { return }
    do {
      try dispatcher.perform(action, for: work)
    } catch {
      stream?.refuse(key, error)
    }
  }

  private func tellAllowances() {
    guard let work else { return }
    while let (choice, tokens) = generation.takeAllowance() {
      dispatcher.allow(work, choice: choice, tokens: tokens)
    }
  }

  // MARK: Frames

  /// Notes that something waits for the client to read.
  func noteBlocked() { generation.noteBlocked(now: Clock.nowNanoseconds) }

  /// The number of a frame that is not one of the generation's events.
  func takeNumber() -> UInt64 {
    frameCount += 1
    return frameCount
  }

  /// The number of a frame that only the stream gets that loses the generation.
  var lastWordNumber: UInt64 { frameCount + 1 }

  /// Keeps a frame that was numbered with `takeNumber`.
  func keep(_ frame: Silica_V1_ServerFrame) {
    guard resumption != nil else { return }
    var frame = frame
    frame.generation = 0
    resumption?.sent.append(frame.encoded())
  }

  /// Sends the next frame, new or once more. There must be one.
  func sendFrame(on call: ServerCall) {
    if let number = replayNumber, let sent = resumption?.sent {
      let isLast = number == sent.lastNumber
      replayNumber = isLast ? nil : number + 1
      return call.send(generation: key, sent[number])
    }
    let now = Clock.nowNanoseconds
    if resumption == nil, sendDelta(on: call, now: now) { return }
    guard let event = generation.takeEvent(now: now) else { return }
    var frame = Silica_V1_ServerFrame()
    frame.generation = key
    frame.sequence = takeNumber()
    frame.frame = event.frame
    call.send(frame)
    if case .delta(_, let tokenCount) = event { dispatcher.noteSent(tokens: tokenCount) }
    keep(frame)
    tellAllowances()
    if generation.isOver { work?.markAbandoned() }
  }

  /// Sends a delta straight from its buffers, if that is what comes next.
  private func sendDelta(on call: ServerCall, now: Nanoseconds) -> Bool {
    let head = DeltaFrame.Head(generation: key, sequence: frameCount + 1)
    let tokenCount = generation.takeDeltaFrame(now: now) { call.send($0, head) }
    guard let tokenCount else { return false }
    frameCount += 1
    dispatcher.noteSent(tokens: tokenCount)
    tellAllowances()
    return true
  }

  // MARK: Streams

  /// It has no stream any more, for now.
  func detach() {
    stream = nil
    isQueued = false
  }

  /// Throws if the frames after that number are not all kept.
  func checkReplay(after number: UInt64) throws(ServingError) {
    guard number <= frameCount else {
      throw ServingError(
        .outOfRange,
        "resume.after_sequence is \(number); the last frame of the generation was \(frameCount)",
        reason: "NOT_SENT", field: "resume.after_sequence")
    }
    guard let sent = resumption?.sent, number + 1 >= sent.firstNumber else {
      throw ServingError(
        .outOfRange,
        "resume.after_sequence is \(number); frames up to "
          + "\((resumption?.sent.firstNumber ?? 1) - 1) are not kept any more",
        reason: "NOT_KEPT", field: "resume.after_sequence")
    }
  }

  /// It goes on on a stream, with the frames after that number.
  func attach(to stream: SessionHandler, key: UInt32, after number: UInt64) {
    self.stream = stream
    self.key = key
    expiry = nil
    replayNumber = number < frameCount ? number + 1 : nil
  }

  /// The first half of a move to another poller, on the old one.
  func leave(for other: Dispatcher) -> [SequenceID] {
    guard let work else { return [] }
    defer { dispatcher.forward(work, to: other.mailbox) }
    return dispatcher.running(of: work)
  }

  /// The second half, on the new one.
  func arrive(at dispatcher: Dispatcher, running: [SequenceID]) {
    self.dispatcher = dispatcher
    if let work { dispatcher.adopt(work, running: running) }
  }
}

extension Generation.Event {
  /// The event as a frame of a session.
  var frame: Silica_V1_ServerFrame.OneOf_Frame {
    switch self {
    case .accepted(let message): .accepted(message)
    case .progress(let message): .progress(message)
    case .delta(let message, _): .delta(message)
    case .finished(let message): .finished(message)
    case .failed(let error): .failed(.with { $0.status = error.status })
    }
  }
}

extension ServerCall {
  /// Encodes a delta, as a frame if it has a head, else as a response.
  func send(_ delta: DeltaFrame, _ head: DeltaFrame.Head?) {
    send(byteCount: delta.encodedSize(head)) { delta.encode(head, into: $0) }
  }

  /// Sends a `ServerFrame` that was encoded without its generation: a field that comes before
  /// others, so that in front of them is its place.
  fileprivate func send(generation key: UInt32, _ rest: [UInt8]) {
    var head = Silica_V1_ServerFrame()
    head.generation = key
    let size = head.encodedSize
    send(byteCount: size + rest.count) { memory in
      head.encode(into: UnsafeMutableRawBufferPointer(rebasing: memory[..<size]))
      UnsafeMutableRawBufferPointer(rebasing: memory[size...]).copyBytes(from: rest)
    }
  }
}
