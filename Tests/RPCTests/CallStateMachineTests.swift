// SPDX-License-Identifier: Apache-2.0

import RPC
import TestSupport
import Testing

/// The state machine by lists of events and the action each is answered with.
@Suite struct CallStateMachineTests {
  enum Event {
    case send, read, endWriting
    case sent(Bool)
    case readDone(CallStateMachine.ReadResult)
    case endSent, opened, over
  }

  /// Applies events; after each completion the machine is asked for the end, as `Call` does.
  private func actions(
    _ machine: CallStateMachine, _ events: [Event]
  ) -> [CallStateMachine.Action] {
    var machine = machine
    var actions: [CallStateMachine.Action] = []
    for event in events {
      var isCompletion = true
      switch event {
      case .send: (actions, isCompletion) = (actions + [machine.send()], false)
      case .read: (actions, isCompletion) = (actions + [machine.read()], false)
      case .endWriting: (actions, isCompletion) = (actions + [machine.endWriting()], false)
      case .sent(let success): actions.append(machine.sendCompleted(success: success))
      case .readDone(let result): actions.append(machine.readCompleted(result))
      case .endSent: actions.append(machine.writeEndCompleted())
      case .opened: machine.openingCompleted()
      case .over: machine.overReceived()
      }
      if isCompletion { actions.append(machine.nextAfterCompletion()) }
    }
    return actions.filter { $0 != .nothing }
  }

  private func isMisuse(_ actions: [CallStateMachine.Action]) -> Bool {
    guard case .misuse? = actions.last else { return false }
    return true
  }

  @Test func `initial metadata goes with the first message and with no other`() {
    let events: [Event] = [.send, .sent(true), .send, .sent(true), .endWriting, .endSent, .over]
    #expect(
      actions(.server(), events) == [
        .postMessage(withInitialMetadata: true), .deliverReadyToSend,
        .postMessage(withInitialMetadata: false), .deliverReadyToSend,
        .postWriteEnd(withInitialMetadata: false), .deliverEnd,
      ])
  }

  @Test func `a call without messages sends initial metadata with its status`() {
    #expect(
      actions(.server(), [.endWriting, .endSent, .over])
        == [.postWriteEnd(withInitialMetadata: true), .deliverEnd])
  }

  @Test func `the status waits for the message in flight`() {
    #expect(
      actions(.server(), [.send, .endWriting, .sent(true), .endSent, .over]) == [
        .postMessage(withInitialMetadata: true), .postWriteEnd(withInitialMetadata: false),
        .deliverEnd,
      ])
  }

  @Test func `the end waits for every outstanding operation`() {
    #expect(
      actions(.server(), [.read, .send, .over, .sent(false), .readDone(.failure)])
        == [.postRead, .postMessage(withInitialMetadata: true), .deliverEnd])
    #expect(
      actions(.client(openingCount: 2), [.over, .opened, .opened]) == [.deliverEnd])
  }

  @Test func `a message that came before the end is delivered before it`() {
    #expect(
      actions(.client(openingCount: 0), [.read, .over, .readDone(.message)])
        == [.postRead, .deliverMessage, .deliverEnd])
  }

  @Test func `after the end of reading another read is dropped`() {
    #expect(
      actions(.server(), [.read, .readDone(.end), .read]) == [.postRead, .deliverReadEnd])
  }

  @Test func `a failed write breaks the call and drops later wishes`() {
    let events: [Event] = [.send, .sent(false), .send, .endWriting, .over]
    #expect(
      actions(.server(), events) == [.postMessage(withInitialMetadata: true), .deliverEnd])
    let endAsked: [Event] = [.send, .endWriting, .sent(false), .over]
    #expect(
      actions(.server(), endAsked) == [.postMessage(withInitialMetadata: true), .deliverEnd])
  }

  @Test func `wishes for a call that is over are dropped`() {
    #expect(
      actions(.server(), [.over, .send, .read, .endWriting]) == [.deliverEnd])
  }

  @Test func `a completed message of a call that is over asks for nothing more`() {
    #expect(
      actions(.server(), [.send, .endWriting, .over, .sent(true)])
        == [.postMessage(withInitialMetadata: true), .deliverEnd])
  }

  @Test func `our own mistakes are told apart from races`() {
    #expect(isMisuse(actions(.server(), [.send, .send])))
    #expect(isMisuse(actions(.server(), [.read, .read])))
    #expect(isMisuse(actions(.server(), [.endWriting, .endWriting])))
    #expect(isMisuse(actions(.server(), [.endWriting, .send])))
    #expect(isMisuse(actions(.server(), [.send, .endWriting, .send])))
    #expect(isMisuse(actions(.server(), [.sent(true)])))
    #expect(isMisuse(actions(.server(), [.readDone(.message)])))
    #expect(isMisuse(actions(.server(), [.endSent])))
  }

  @Test func `every order of events ends a call exactly once and as its last action`() {
    // Random walks over what may happen, then everything outstanding completes.
    var generator = SeededGenerator(seed: 7)
    for _ in 0..<2_000 {
      var machine = CallStateMachine.server()
      var (sending, reading, ending, ends) = (false, false, false, 0)
      func note(_ action: CallStateMachine.Action) {
        #expect(ends == 0 || action == .nothing)
        switch action {
        case .postMessage: sending = true
        case .postRead: reading = true
        case .postWriteEnd: ending = true
        case .deliverEnd: ends += 1
        default: break
        }
      }
      var hasEndedWriting = false
      for step in 0..<12 {
        switch step < 8 ? generator.next() % 5 : 4 {
        case 0 where machine.isReadyToSend: note(machine.send())
        case 1 where !reading: note(machine.read())
        case 2 where !hasEndedWriting:
          hasEndedWriting = true
          note(machine.endWriting())
        case 3: machine.overReceived()
        default:
          if step >= 8 { machine.overReceived() }
          if sending {
            sending = false
            note(machine.sendCompleted(success: generator.next() % 4 != 0))
          } else if reading {
            reading = false
            note(machine.readCompleted(generator.next() % 2 == 0 ? .message : .end))
          } else if ending {
            ending = false
            note(machine.writeEndCompleted())
          }
        }
        note(machine.nextAfterCompletion())
      }
      #expect(ends == 1)
    }
  }
}
