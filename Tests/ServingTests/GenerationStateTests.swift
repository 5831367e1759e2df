// SPDX-License-Identifier: Apache-2.0

import Messages
import Serving
import Step
import Support
import Testing
import Text
import Wire

/// A generation by itself: what it says when the client takes its time.
@Suite struct GenerationStateTests {
  private static let id = SequenceID(1)

  private let server: TestServer

  init() throws { server = try TestServer() }

  private func generation(
    _ change: (inout Silica_V1_Start) -> Void = { _ in }
  ) throws -> Generation {
    let reader = RequestReader(model: server.model, limits: ServingLimits())
    let request = try reader.read(.greedy(tokens: 4_000, change), arrival: 0, callDeadline: nil)
    return try Generation(request, model: server.model, unsentTokensMax: 4_096)
  }

  private func token(_ id: Int32, index: Int) -> SequenceEvent {
    .token(Self.id, index: index, SampledToken(id: id))
  }

  @Test func `what gathers is one delta, as far as it goes into a message`() throws {
    let generation = try generation()
    _ = generation.admit(Generation.Admission(promptTokens: 3, seed: 9), model: server.model)
    let tokens = (0..<2_500).map { Int32(3 + $0 % 900) }
    for (index, id) in tokens.enumerated() {
      #expect(generation.apply(token(id, index: index), choice: 0) == .none)
    }
    var account = SequenceAccount()
    account.generatedTokens = 2_500
    #expect(generation.apply(.finished(Self.id, .length, account), choice: 0) == .none)
    generation.noteBlocked(now: 1_000_000)
    generation.noteBlocked(now: 2_000_000)
    var sizes: [Int] = []
    var text = ""
    var finished: Silica_V1_Finished?
    while let event = generation.takeEvent(now: 5_000_000) {
      #expect(finished == nil)
      switch event {
      case .accepted(let message): #expect(message.seed == 9 && message.promptTokens == 3)
      case .delta(let delta, _):
        sizes.append(delta.tokenIds.count)
        text += delta.text
      case .finished(let message): finished = message
      case .progress, .failed: Issue.record("\(event)")
      }
    }
    #expect(sizes == [1_024, 1_024, 452])
    #expect(text == server.model.tokenizer.decode(tokens, skippingControlTokens: true))
    #expect(finished?.timings.sendBlockedUs == 4_000, "from the first note to the sending")
    #expect(generation.isOver && !generation.hasEvent)
  }

  @Test func `a delta written from its buffers has the bytes of the generated code`() throws {
    for (count, sendsIDs, choice) in [(1, true, 0), (3, false, 1), (1_024, true, 1), (9, true, 0)] {
      let change: (inout Silica_V1_Start) -> Void = {
        $0.output.n = 2
        $0.output.tokenIds = sendsIDs
      }
      func generated() throws -> Generation {
        let generation = try generation(change)
        for index in 0..<count {
          let token = token(Int32(3 + index * 7 % 900), index: index)
          #expect(generation.apply(token, choice: choice) == .none)
        }
        return generation
      }
      guard case .delta(let delta, count)? = try generated().takeEvent(now: 0) else {
        Issue.record("no delta of \(count) tokens")
        return
      }
      let frame = Silica_V1_ServerFrame.with {
        $0.generation = 300
        $0.sequence = 70_000
        $0.delta = delta
      }
      let response = Silica_V1_GenerateResponse.with { $0.delta = delta }
      for (head, bytes) in [
        (DeltaFrame.Head(generation: 300, sequence: 70_000), frame.encoded()),
        (nil, response.encoded()),
      ] {
        let lent = try generated()
        let tokenCount = lent.takeDeltaFrame(now: 0) { delta in
          var written = [UInt8](repeating: 0, count: delta.encodedSize(head))
          written.withUnsafeMutableBytes { delta.encode(head, into: $0) }
          #expect(written == bytes)
        }
        #expect(tokenCount == count && !lent.hasEvent)
      }
    }
  }

  @Test func `progress is told until there is a token, and only the latest`() throws {
    let generation = try generation { $0.output.n = 2 }
    _ = generation.admit(Generation.Admission(promptTokens: 90, seed: 0), model: server.model)
    _ = generation.takeEvent(now: 0)
    _ = generation.apply(.prefilled(Self.id, tokens: 16), choice: 0)
    _ = generation.apply(.prefilled(Self.id, tokens: 32), choice: 0)
    guard case .progress(let progress)? = generation.takeEvent(now: 0) else {
      Issue.record("no progress")
      return
    }
    #expect(progress.prefillTokens == 32)
    #expect(!generation.hasEvent)
    _ = generation.apply(.prefilled(Self.id, tokens: 48), choice: 1)
    _ = generation.apply(token(5, index: 0), choice: 0)
    _ = generation.apply(.prefilled(Self.id, tokens: 64), choice: 1)
    guard case .delta? = generation.takeEvent(now: 0) else {
      Issue.record("no delta")
      return
    }
    #expect(!generation.hasEvent)
  }

  @Test func `an error is said once, and nothing after it`() throws {
    let generation = try generation { $0.output.n = 2 }
    _ = generation.admit(Generation.Admission(promptTokens: 1, seed: 0), model: server.model)
    _ = generation.takeEvent(now: 0)
    _ = generation.apply(token(5, index: 0), choice: 0)
    let error = SequenceError(.internal, "the logits are not numbers")
    let failed = SequenceEvent.finished(Self.id, .failed(error), SequenceAccount())
    #expect(generation.apply(failed, choice: 0) == .abandon)
    #expect(generation.apply(failed, choice: 1) == .none)
    guard case .failed(let said)? = generation.takeEvent(now: 0) else {
      Issue.record("no failure")
      return
    }
    #expect(said.code == .internal && said.message == error.message)
    #expect(generation.isOver && !generation.hasEvent)
  }

  @Test func `a stop string ends its own choice only`() throws {
    let stop = server.model.tokenizer.decode([40, 41])
    let generation = try generation {
      $0.output.n = 2
      $0.stopping.stop = [stop]
    }
    _ = generation.admit(Generation.Admission(promptTokens: 1, seed: 0), model: server.model)
    #expect(generation.apply(token(40, index: 0), choice: 1) == .none)
    #expect(generation.apply(token(41, index: 1), choice: 1) == .endChoice(1))
    #expect(generation.apply(token(42, index: 2), choice: 1) == .none, "a step under way")
    #expect(generation.apply(token(40, index: 0), choice: 0) == .none)
  }

  @Test func `cancelling asks the engine only for what runs`() throws {
    let early = try generation { $0.output.n = 2 }
    #expect(early.cancel() == .abandon)
    var ends = 0
    while let event = early.takeEvent(now: 0) {
      guard case .finished(let message) = event else {
        Issue.record("\(event)")
        return
      }
      #expect(message.reason == .cancelled)
      ends += 1
    }
    #expect(ends == 2 && early.isOver)
    let running = try generation()
    _ = running.admit(Generation.Admission(promptTokens: 1, seed: 0), model: server.model)
    #expect(running.cancel() == .cancel)
    #expect(running.cancel() == .cancel)
  }
}
