// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Step
internal import Text

/// One sequence of a generation on its way to the client: tokens in, deltas out.
///
/// Confined to the poller of its call. What is not sent yet is one growing delta, or a few of them
/// when it is too much for one message; so a slow reader costs at most the text of `max_tokens`
/// tokens.
struct Choice {
  /// Tokens of a delta, at most: with all their log-probabilities they stay well below the 4 MB
  /// that many clients take in one message.
  static let tokensPerDelta = 1_024

  let index: UInt32
  private let request: GenerationRequest
  private var detokenizer: Detokenizer
  private var stopMatcher: StopMatcher
  /// What is not sent yet: all but the last are full.
  private var pending: [Silica_V1_Delta] = []
  /// Tokens in the last of `pending`.
  private var pendingTokenCount = 0
  private var tokenCount = 0
  /// The stop string that was found; the tokens after it are not sent.
  private(set) var matchedStop: String?
  /// The end, once the engine has said so.
  private(set) var end: (reason: FinishReason, account: SequenceAccount)?

  init(
    index: Int, request: GenerationRequest, tokenizer: Tokenizer
  ) throws(ServingError) {
    self.index = UInt32(index)
    self.request = request
    detokenizer = Detokenizer(
      tokenizer, skippingControlTokens: !request.showsControlTokens)
    do {
      stopMatcher = try StopMatcher(request.stopStrings)
    } catch {
      throw .invalid("start.stopping.stop", "start.stopping.\(error.message)")
    }
  }

  /// Takes the next token. Returns true if it completed a stop string, so that the sequence is to
  /// be ended.
  mutating func append(_ token: SampledToken) -> Bool {
    guard matchedStop == nil else { return false }
    tokenCount += 1
    note(token)
    if request.stopping.stopTokens.contains(token.id) { return false }
    return append(text: detokenizer.append(token.id))
  }

  /// Puts into the pending delta what a client wants to know of a token beside its text.
  private mutating func note(_ token: SampledToken) {
    if pending.isEmpty || pendingTokenCount == Self.tokensPerDelta { beginDelta() }
    pendingTokenCount += 1
    let last = pending.count - 1
    if request.sendsTokenIDs { pending[last].tokenIds.append(UInt32(bitPattern: token.id)) }
    if let logprobs = token.logprobs {
      pending[last].logprobs.append(Silica_V1_TokenLogprobs(logprobs))
    }
  }

  private mutating func send(_ text: String) {
    guard !text.isEmpty else { return }
    if pending.isEmpty { beginDelta() }
    pending[pending.count - 1].text += text
  }

  private mutating func beginDelta() {
    var delta = Silica_V1_Delta()
    delta.index = index
    pending.append(delta)
    pendingTokenCount = 0
  }

  private mutating func append(text: String) -> Bool {
    guard tokenCount > request.stopping.minTokens else {
      send(text)
      return false
    }
    let output = stopMatcher.append(text)
    send(output.text)
    matchedStop = output.stop.map { request.stopStrings[$0] }
    return matchedStop != nil
  }

  /// The sequence ended; what was held back comes out.
  mutating func finish(_ reason: FinishReason, _ account: SequenceAccount) {
    if matchedStop == nil {
      _ = append(text: detokenizer.flush())
      if matchedStop == nil { send(stopMatcher.flush()) }
    }
    var account = account
    account.generatedTokens = tokenCount
    end = (reason, account)
  }

  /// Whether a delta waits to be sent.
  var hasDelta: Bool { pending.contains { !$0.isEmpty } }

  /// Everything since the last delta, or as much as goes into one message.
  mutating func takeDelta() -> Silica_V1_Delta? {
    while !pending.isEmpty {
      let delta = pending.removeFirst()
      if !delta.isEmpty { return delta }
    }
    return nil
  }

  /// The choice's last message, once; after all of its deltas.
  mutating func takeFinished(sendBlocked: Nanoseconds) -> Silica_V1_Finished? {
    guard let (reason, account) = end else { return nil }
    end = nil
    var message = Silica_V1_Finished()
    message.index = index
    (message.reason, message.matched) = Self.outcome(reason, matchedStop: matchedStop)
    message.usage = Silica_V1_Usage(account)
    message.timings = Silica_V1_Timings(account, sendBlocked: sendBlocked)
    return message
  }

  private static func outcome(
    _ reason: FinishReason, matchedStop: String?
  ) -> (Silica_V1_FinishReason, Silica_V1_Finished.OneOf_Matched?) {
    if let matchedStop { return (.stop, .stopString(matchedStop)) }
    return switch reason {
    case .stopToken(let token): (.stop, .stopTokenID(UInt32(bitPattern: token)))
    case .stopString: (.stop, nil)
    case .length: (.length, nil)
    case .cancelled, .failed: (.cancelled, nil)
    case .deadline: (.deadline, nil)
    }
  }
}

extension Silica_V1_Delta {
  fileprivate var isEmpty: Bool { text.isEmpty && tokenIds.isEmpty && logprobs.isEmpty }
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

extension Silica_V1_Usage {
  fileprivate init(_ account: SequenceAccount) {
    self.init()
    promptTokens = UInt32(clamping: account.promptTokens)
    cachedTokens = UInt32(clamping: account.cachedTokens)
    generatedTokens = UInt32(clamping: account.generatedTokens)
  }
}

extension Silica_V1_Timings {
  fileprivate init(_ account: SequenceAccount, sendBlocked: Nanoseconds) {
    self.init()
    queueUs = account.queueTime / 1_000
    prefillUs = account.prefillTime / 1_000
    decodeUs = account.decodeTime / 1_000
    sendBlockedUs = sendBlocked / 1_000
  }
}
