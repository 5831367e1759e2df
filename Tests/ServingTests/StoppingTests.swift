// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import Serving
import Testing
import Text

/// When generations end by themselves.
@Suite struct StoppingTests {
  @Test func `a stop string ends the text before it, wherever deltas begin`() throws {
    let server = try TestServer()
    let whole = try server.generate(.greedy(tokens: 60)).transcript
    // Every stop string of three characters, from the middle of the text.
    let characters = Array(whole.text)
    for start in stride(from: 20, to: 26, by: 2) {
      let stop = String(characters[start..<start + 3])
      let expected = try #require(whole.text.firstRange(of: stop))
      let transcript = try server.generate(
        .greedy(tokens: 60) { $0.stopping.stop = ["never to be seen", stop] }
      ).transcript
      #expect(transcript.text == whole.text[..<expected.lowerBound])
      #expect(transcript.finished?.reason == .stop)
      #expect(transcript.finished?.stopString == stop)
      // It ended with the token that completed the stop string.
      let used = Int(transcript.finished?.usage.generatedTokens ?? 0)
      #expect(transcript.tokens == Array(whole.tokens.prefix(used)))
      let tokenizer = server.model.tokenizer
      #expect(tokenizer.decode(transcript.tokens, skippingControlTokens: true).contains(stop))
      #expect(
        !tokenizer.decode(
          transcript.tokens.dropLast(), skippingControlTokens: true
        ).contains(stop))
    }
  }

  @Test func `what could have begun a stop string comes out at the end`() throws {
    let server = try TestServer()
    let whole = try server.generate(.greedy(tokens: 20)).transcript
    let tail = String(whole.text.suffix(4))
    let transcript = try server.generate(
      .greedy(tokens: 20) { $0.stopping.stop = [tail + "and more"] }
    ).transcript
    #expect(transcript.text == whole.text)
    #expect(transcript.finished?.reason == .length)
  }

  @Test func `a stop token ends the text before it`() throws {
    let server = try TestServer()
    let whole = try server.generate(.greedy(tokens: 40)).transcript
    let stop = whole.tokens[9]
    let position = try #require(whole.tokens.firstIndex(of: stop))
    let transcript = try server.generate(
      .greedy(tokens: 40) { $0.stopping.stopTokenIds = [UInt32(stop)] }
    ).transcript
    #expect(transcript.tokens == Array(whole.tokens[...position]))
    #expect(transcript.finished?.reason == .stop)
    #expect(transcript.finished?.stopTokenID == UInt32(stop))
    let text = server.model.tokenizer.decode(
      whole.tokens[..<position], skippingControlTokens: true)
    #expect(transcript.text == text)
  }

  @Test func `the model's end tokens end it unless they are ignored`() throws {
    let server = try TestServer()
    let forced = Silica_V1_Start.greedy(tokens: 5) {
      $0.sampling.logitBias = [1: 100]
      $0.stopping.ignoreEos = false
    }
    let ended = try server.generate(forced).transcript
    #expect(ended.tokens == [1])
    #expect(ended.text.isEmpty)
    #expect(ended.finished?.stopTokenID == 1)
    var ignored = forced
    ignored.stopping.ignoreEos = true
    let went = try server.generate(ignored).transcript
    #expect(went.tokens == [1, 1, 1, 1, 1])
    #expect(went.text.isEmpty, "control tokens are no text")
    ignored.output.specialTokens = true
    let shown = try server.generate(ignored).transcript
    #expect(shown.text == String(repeating: "<｜end▁of▁sentence｜>", count: 5))
  }

  @Test func `no stop counts before min_tokens`() throws {
    let server = try TestServer()
    let whole = try server.generate(.greedy(tokens: 40)).transcript
    let byToken = try server.generate(
      .greedy(tokens: 40) {
        $0.stopping.stopTokenIds = [UInt32(whole.tokens[4])]
        $0.stopping.minTokens = 20
      }
    ).transcript
    #expect(byToken.tokens.count >= 20)
    #expect(!byToken.tokens.prefix(20).contains(whole.tokens[4]))
    let stop = String(Array(whole.text)[2..<4])
    let byText = try server.generate(
      .greedy(tokens: 40) {
        $0.stopping.stop = [stop]
        $0.stopping.minTokens = 20
      }
    ).transcript
    #expect(byText.tokens.count >= 20)
    #expect(byText.tokens == Array(whole.tokens.prefix(byText.tokens.count)))
  }

  @Test func `the end of the context ends it`() throws {
    let server = try TestServer { $0.contextLength = 48 }
    let transcript = try server.generate(
      .greedy(tokens: 1) { $0.stopping.clearMaxTokens() }
    ).transcript
    let prompt = Int(try #require(transcript.accepted).promptTokens)
    #expect(transcript.tokens.count == 48 - prompt)
    #expect(transcript.finished?.reason == .length)
    let capped = try server.generate(.greedy(tokens: 5_000)).transcript
    #expect(capped.tokens == transcript.tokens)
  }

  @Test func `a deadline ends it with what it has`() throws {
    let server = try TestServer()
    let whole = try server.generate(.greedy(tokens: 400)).transcript
    server.gate.slowDown(microseconds: 5_000)
    let session = try SessionClient(server)
    let transcript = try session.run(1, .greedy(tokens: 400) { $0.limits.deadlineMs = 200 })
    #expect(transcript.finished?.reason == .deadline)
    #expect(transcript.tokens.count < 100)
    #expect(transcript.tokens == Array(whole.tokens.prefix(transcript.tokens.count)))
    let none = try session.run(2, .greedy(tokens: 10) { $0.limits.deadlineMs = 0 })
    #expect(none.finished?.reason == .deadline)
    #expect(none.tokens.isEmpty)
  }
}
