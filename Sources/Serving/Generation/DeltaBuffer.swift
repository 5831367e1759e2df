// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Step

/// Tokens and text of one choice that are not sent yet.
///
/// Holds plain arrays that are reused, so that a token costs no allocation while the client keeps
/// up. Bounded by the window of unsent tokens, and what is kept of those that were sent.
struct DeltaBuffer {
  struct Token {
    /// Negative: text that came with no token.
    var id: Int32
    /// Where the text that it completed ends in `text`.
    var textEnd: Int
  }

  /// What was sent stays until it is so much: to empty an array costs more than all else here.
  private static let sentBytesMax = 1_024
  private static let sentTokensMax = 64

  /// UTF-8 in whole characters. What is appended belongs to the next token that is appended.
  var text: [UInt8] = []
  private var textStart = 0
  private var tokens: [Token] = []
  private var tokenStart = 0
  /// Of each of `tokens`, if they were asked for.
  private var logprobs: [TokenLogprobs] = []

  var isEmpty: Bool { tokenStart == tokens.count }

  /// Ends what one token contributes: its id and the text since the one before.
  mutating func append(_ token: SampledToken) {
    tokens.append(Token(id: token.id, textEnd: text.count))
    if let entry = token.logprobs { logprobs.append(entry) }
  }

  /// Gives text that was appended last to the token before it: no other comes.
  mutating func closeText() {
    let end = tokens.last?.textEnd ?? textStart
    guard text.count > end else { return }
    if isEmpty {
      tokens.append(Token(id: -1, textEnd: text.count))
    } else {
      tokens[tokens.count - 1].textEnd = text.count
    }
  }

  /// Lends up to `count` tokens as a frame's delta, and lets go of them then. nil if there are
  /// log-probabilities, which `take` knows.
  mutating func takeFrame(
    _ count: Int, index: UInt32, sendsTokenIDs: Bool, _ body: (DeltaFrame) -> Void
  ) -> Int? {
    guard logprobs.isEmpty else { return nil }
    let end = min(tokenStart + count, tokens.count)
    let textEnd = tokens[end - 1].textEnd
    let tokenCount = text.withUnsafeBufferPointer { text in
      tokens.withUnsafeBufferPointer { tokens in
        let frame = DeltaFrame(
          index: index, text: UnsafeBufferPointer(rebasing: text[textStart..<textEnd]),
          tokens: UnsafeBufferPointer(rebasing: tokens[tokenStart..<end]),
          sendsTokenIDs: sendsTokenIDs)
        body(frame)
        return frame.tokenCount
      }
    }
    (tokenStart, textStart) = (end, textEnd)
    if isEmpty { makeRoom() }
    return tokenCount
  }

  /// Takes up to `count` tokens as a delta. Returns it and how many tokens it accounts for.
  mutating func take(
    _ count: Int, index: UInt32, sendsTokenIDs: Bool
  ) -> (delta: Silica_V1_Delta, tokenCount: Int) {
    let end = min(tokenStart + count, tokens.count)
    let textEnd = tokens[end - 1].textEnd
    var delta = Silica_V1_Delta()
    delta.index = index
    delta.text = String(decoding: text[textStart..<textEnd], as: UTF8.self)
    var tokenCount = 0
    if sendsTokenIDs { delta.tokenIds.reserveCapacity(end - tokenStart) }
    for position in tokenStart..<end where tokens[position].id >= 0 {
      tokenCount += 1
      if sendsTokenIDs { delta.tokenIds.append(UInt32(tokens[position].id)) }
    }
    if !logprobs.isEmpty {
      delta.logprobs = logprobs.prefix(tokenCount).map(Silica_V1_TokenLogprobs.init)
      logprobs.removeFirst(tokenCount)
    }
    (tokenStart, textStart) = (end, textEnd)
    if isEmpty { makeRoom() }
    return (delta, tokenCount)
  }

  private mutating func makeRoom() {
    guard text.count > Self.sentBytesMax || tokens.count > Self.sentTokensMax else { return }
    tokens.removeAll(keepingCapacity: true)
    text.removeAll(keepingCapacity: true)
    (tokenStart, textStart) = (0, 0)
  }
}

extension Silica_V1_TokenLogprobs {
  fileprivate init(_ logprobs: TokenLogprobs) {
    self.init()
    logprob = logprobs.chosen
    top = logprobs.top.map { entry in
      var message = Silica_V1_TopLogprob()
      message.tokenID = UInt32(bitPattern: entry.token)
      message.logprob = entry.logprob
      return message
    }
  }
}
