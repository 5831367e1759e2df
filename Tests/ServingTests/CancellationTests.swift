// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Serving
import Testing
import Text
import Wire

/// Generations and calls that end before their time.
@Suite struct CancellationTests {
  /// A prompt that keeps the tokeniser busy for a while and is refused in the end.
  static let longPrompt = String(repeating: "tick tock ", count: 200_000)

  @Test func `a generation is cancelled while its prompt waits, and its number is used again`()
    throws
  {
    let server = try TestServer()
    let expected = try server.generate(.greedy("The answer is", tokens: 9)).transcript
    let session = try SessionClient(server)
    try session.start(1, .greedy(Self.longPrompt, tokens: 1))
    try session.start(5, .greedy(tokens: 50))
    try session.cancel(5)
    let cancelled = try session.finish(5)
    #expect(cancelled.accepted == nil)
    #expect(cancelled.finished?.reason == .cancelled)
    #expect(cancelled.finished?.usage.generatedTokens == 0)
    let again = try session.run(5, .greedy("The answer is", tokens: 9))
    #expect(again.tokens == expected.tokens)
    #expect(again.text == expected.text)
    #expect(try ErrorDetails(try session.finish(1).failed).reason == "PROMPT_TOO_LONG")
    #expect(try session.close() == .ok)
    #expect(eventually { server.isQuiet })
  }

  @Test func `cancelling twice ends a generation once`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    server.gate.hold()
    try session.start(1, .greedy(tokens: 9) { $0.output.n = 2 })
    try session.read { $0.transcript(1).accepted != nil }
    // In a step under way, it cannot end before that comes back.
    #expect(eventually { server.engine.load().running == 2 })
    try session.cancel(1)
    try session.cancel(1)
    try session.ping(1)
    try session.read { !$0.pongs.isEmpty }
    server.gate.release()
    let transcript = try session.finish(1)
    #expect(transcript.choices.values.map(\.finished?.reason) == [.cancelled, .cancelled])
    try session.cancel(1)
    #expect(try session.close() == .ok)
    #expect(session.streamFailures.count == 1, "the cancel that came too late")
    #expect(transcript.refusals.isEmpty)
  }

  @Test func `half-closing after such a cancellation ends the call once`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    let other = try SessionClient(server)
    try other.start(1, .greedy(Self.longPrompt, tokens: 1))
    try session.start(1, .greedy(tokens: 5))
    try session.cancel(1)
    #expect(try session.close() == .ok)
    #expect(session.transcript(1).finished?.reason == .cancelled)
    try other.finish(1)
    #expect(try server.generate(.greedy(tokens: 2)).status == .ok)
  }

  @Test func `a call that ends while its prompt is tokenised leaves nothing behind`() throws {
    let server = try TestServer()
    for path in [Silica_V1_Inference.session.path, Silica_V1_Inference.generate.path] {
      let call = try BlockingCall(on: server.channel, path: path, deadline: testDeadline())
      let start = Silica_V1_Start.greedy(Self.longPrompt, tokens: 5)
      if path == Silica_V1_Inference.generate.path {
        try call.send(Silica_V1_GenerateRequest.with { $0.start = start }.encoded())
      } else {
        var frame = Silica_V1_ClientFrame()
        frame.generation = 1
        frame.start = start
        try call.send(frame.encoded())
      }
      #expect(eventually { server.server.activeCallCount == 1 })
      try call.cancel()
      #expect(try call.finish().status.code == .cancelled)
    }
    #expect(try server.generate(.greedy(tokens: 2)).transcript.tokens.count == 2)
    #expect(eventually { server.isQuiet })
  }

  @Test func `a client that goes away in the middle gives everything back`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 2_000)
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 400) { $0.output.n = 3 })
    try session.start(2, .greedy("The answer is", tokens: 400))
    let stayed = try SessionClient(server)
    try stayed.start(1, .greedy(tokens: 60))
    try session.read { $0.transcript(1).tokens.count > 3 && $0.transcript(2).tokens.count > 3 }
    #expect(server.engine.load().kvBlocksUsed > 0)
    try session.call.cancel()
    #expect(eventually { server.engine.load().running == 1 })
    #expect(try stayed.finish(1).tokens.count == 60)
    #expect(try stayed.close() == .ok)
    #expect(eventually { server.isQuiet })
  }

  @Test func `a Generate call is cancelled, or passes its deadline`() throws {
    let server = try TestServer()
    server.gate.slowDown(microseconds: 5_000)
    let request = Silica_V1_GenerateRequest.with { $0.start = .greedy(tokens: 400) }
    for isCancelled in [true, false] {
      let call = try BlockingCall(
        on: server.channel, path: Silica_V1_Inference.generate.path,
        deadline: testDeadline(seconds: isCancelled ? 30 : 0.5))
      try call.send(request.encoded())
      for _ in 0..<4 { _ = try call.receive() }
      if isCancelled { try call.cancel() }
      #expect(try call.finish().status.code == (isCancelled ? .cancelled : .deadlineExceeded))
      #expect(eventually { server.isQuiet })
    }
  }

  @Test func `a client that does not read holds up nobody, and misses nothing`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    let start = Silica_V1_Start.greedy(tokens: 400) {
      $0.output.n = 2
      $0.output.logprobs = 20
    }
    try session.start(1, start)
    #expect(eventually { server.engine.load().running == 2 })
    #expect(try server.generate(.greedy(tokens: 20)).transcript.tokens.count == 20)
    #expect(eventually { server.engine.load().running == 0 }, "the engine waits for no reader")
    let transcript = try session.finish(1)
    #expect(transcript.choices.count == 2)
    for choice in transcript.choices.values {
      #expect(choice.tokens.count == 400 && choice.logprobs.count == 400)
      #expect(
        choice.text
          == server.model.tokenizer.decode(
            choice.tokens, skippingControlTokens: true))
    }
    #expect(try session.close() == .ok)
  }
}
