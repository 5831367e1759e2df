// SPDX-License-Identifier: Apache-2.0

/// What may happen next on one call, of a server or of a client. Pure: each event answers with the
/// one action that `Call` executes.
///
/// gRPC allows one operation of each kind at a time, so one message is in flight at most, and the
/// end of writing (a server's status, a client's half-close) waits for it. Wrong input is of three
/// kinds: our bug is answered with `.misuse`, which stops the process; a failure of the peer or the
/// network breaks the call, whose end then reports it; a harmless race, such as a token for a call
/// that was cancelled a moment ago, is dropped.
package struct CallStateMachine {
  package enum Action: Equatable {
    case nothing
    case postMessage(withInitialMetadata: Bool)
    case postRead
    /// A server's status or a client's half-close.
    case postWriteEnd(withInitialMetadata: Bool)
    case deliverMessage
    case deliverReadEnd
    case deliverReadyToSend
    case deliverEnd
    case misuse(String)
  }

  package enum ReadResult {
    case message
    case end
    case failure
  }

  private enum Writing {
    case idle
    case messageInFlight
    /// The end was asked for while a message was in flight.
    case messageInFlightThenEnd
    case endInFlight
    case ended
    /// A write failed: the peer or the connection is gone.
    case broken
  }

  private enum Reading {
    case idle
    case inFlight
    case ended
  }

  private var writing = Writing.idle
  private var reading = Reading.idle
  private var hasSentInitialMetadata: Bool
  /// A client's operations at the start of a call that have not completed.
  private var openingCount: Int
  /// The call's last event is there: a server's RECV_CLOSE, a client's status.
  private var isOver = false
  private var hasEnded = false

  /// A server's call, just accepted. Its initial metadata goes with the first write.
  package static func server() -> CallStateMachine {
    CallStateMachine(hasSentInitialMetadata: false, openingCount: 0)
  }

  /// A client's call with `openingCount` operations posted at its start.
  package static func client(openingCount: Int) -> CallStateMachine {
    CallStateMachine(hasSentInitialMetadata: true, openingCount: openingCount)
  }

  private init(hasSentInitialMetadata: Bool, openingCount: Int) {
    self.hasSentInitialMetadata = hasSentInitialMetadata
    self.openingCount = openingCount
  }

  package var isReadyToSend: Bool { writing == .idle && !isOver }
  package var canSetInitialMetadata: Bool { !hasSentInitialMetadata }

  // MARK: Wishes of the handler

  package mutating func send() -> Action {
    if isOver { return .nothing }
    switch writing {
    case .idle:
      writing = .messageInFlight
      return .postMessage(withInitialMetadata: takeInitialMetadata())
    case .messageInFlight: return .misuse("send: a message is in flight, see isReadyToSend")
    case .messageInFlightThenEnd, .endInFlight, .ended:
      return .misuse("send: writing was ended before")
    case .broken: return .nothing
    }
  }

  package mutating func read() -> Action {
    if isOver { return .nothing }
    switch reading {
    case .idle:
      reading = .inFlight
      return .postRead
    case .inFlight: return .misuse("read: a read is outstanding")
    case .ended: return .nothing
    }
  }

  package mutating func endWriting() -> Action {
    if isOver { return .nothing }
    switch writing {
    case .idle:
      writing = .endInFlight
      return .postWriteEnd(withInitialMetadata: takeInitialMetadata())
    case .messageInFlight:
      writing = .messageInFlightThenEnd
      return .nothing
    case .messageInFlightThenEnd, .endInFlight, .ended:
      return .misuse("writing was ended before")
    case .broken: return .nothing
    }
  }

  // MARK: Completions

  package mutating func openingCompleted() {
    openingCount -= 1
  }

  package mutating func sendCompleted(success: Bool) -> Action {
    let endIsWanted = writing == .messageInFlightThenEnd
    guard endIsWanted || writing == .messageInFlight else {
      return .misuse("a message completed that was not in flight")
    }
    guard success, !isOver else {
      writing = .broken
      return .nothing
    }
    guard endIsWanted else {
      writing = .idle
      return .deliverReadyToSend
    }
    writing = .endInFlight
    return .postWriteEnd(withInitialMetadata: false)
  }

  package mutating func readCompleted(_ result: ReadResult) -> Action {
    guard reading == .inFlight else { return .misuse("a read completed that was not outstanding") }
    reading = result == .message ? .idle : .ended
    switch result {
    case .message: return .deliverMessage
    case .end: return .deliverReadEnd
    case .failure: return .nothing
    }
  }

  package mutating func writeEndCompleted() -> Action {
    guard writing == .endInFlight else { return .misuse("an end completed that was not in flight") }
    writing = .ended
    return .nothing
  }

  package mutating func overReceived() {
    isOver = true
  }

  /// To be asked after each completion: the end of the call, once, when nothing is outstanding.
  package mutating func nextAfterCompletion() -> Action {
    let isWriting =
      switch writing {
      case .messageInFlight, .messageInFlightThenEnd, .endInFlight: true
      case .idle, .ended, .broken: false
      }
    guard isOver, !isWriting, reading != .inFlight, openingCount == 0, !hasEnded else {
      return .nothing
    }
    hasEnded = true
    return .deliverEnd
  }

  private mutating func takeInitialMetadata() -> Bool {
    defer { hasSentInitialMetadata = true }
    return !hasSentInitialMetadata
  }
}
