// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Step
internal import Text

/// One sequence of a generation on its way to the client: tokens in, deltas out.
///
/// Confined to the poller of its call. What is not sent yet is bounded: the window of its tokens
/// pauses the sequence.
struct Choice {
  private let index: UInt32
  private let request: GenerationRequest
  private var detokenizer: Detokenizer
  /// nil without stop strings.
  private var stopMatcher: StopMatcher?
  private var unsent = DeltaBuffer()
  private var window: TokenWindow
  private var tokenCount = 0
  /// The stop string that was found; the tokens after it are not sent.
  private(set) var matchedStop: String?
  /// The end, once the engine has said so.
  private(set) var end: (reason: FinishReason, account: SequenceAccount)?

  init(
    index: Int, request: GenerationRequest, tokenizer: Tokenizer, unsentTokensMax: Int
  ) throws(ServingError) {
    self.index = UInt32(index)
    self.request = request
    detokenizer = Detokenizer(
      tokenizer, skippingControlTokens: !request.showsControlTokens)
    window = TokenWindow(unsentMax: unsentTokensMax, credit: request.credit)
    do {
      stopMatcher = request.stopStrings.isEmpty ? nil : try StopMatcher(request.stopStrings)
    } catch {
      throw .invalid("start.stopping.stop", "start.stopping.\(error.message)")
    }
  }

  // MARK: From the engine

  /// Takes the next token. Returns true if it completed a stop string, so that the sequence is to
  /// be ended.
  mutating func append(_ token: SampledToken) -> Bool {
    guard matchedStop == nil else { return false }
    tokenCount += 1
    let textStart = unsent.text.count
    if !request.stopping.stopTokens.contains(token.id) { appendText(of: token.id) }
    if request.sendsTokenIDs || token.logprobs != nil || unsent.text.count > textStart {
      unsent.append(token)
    } else {
      // Nothing of it is ever sent, so it must not hold up the tokens to come.
      window.noteSent(1)
    }
    return matchedStop != nil
  }

  private mutating func appendText(of id: Int32) {
    if stopMatcher == nil || tokenCount <= request.stopping.minTokens {
      detokenizer.append(id, to: &unsent.text)
    } else {
      match(detokenizer.append(id))
    }
  }

  private mutating func match(_ text: String) {
    guard let output = stopMatcher?.append(text) else { return }
    unsent.text.append(contentsOf: output.text.utf8)
    matchedStop = output.stop.map { request.stopStrings[$0] }
  }

  /// The sequence ended; what was held back comes out.
  mutating func finish(_ reason: FinishReason, _ account: SequenceAccount) {
    if matchedStop == nil {
      let rest = detokenizer.flush()
      if stopMatcher == nil || tokenCount <= request.stopping.minTokens {
        unsent.text.append(contentsOf: rest.utf8)
      } else {
        match(rest)
      }
      if matchedStop == nil, let held = stopMatcher?.flush() {
        unsent.text.append(contentsOf: held.utf8)
      }
      unsent.closeText()
    }
    var account = account
    account.generatedTokens = tokenCount
    end = (reason, account)
  }

  // MARK: Flow control

  /// How many tokens the sequence may generate at first.
  var initialAllowance: Int { window.allowance }

  mutating func add(credit tokens: Int) {
    window.add(credit: tokens, generatedCount: tokenCount)
  }

  /// What the engine is to be told now; nil if nothing.
  mutating func takeAllowance() -> Int? { end == nil ? window.takeAllowance() : nil }

  // MARK: To the client

  /// Whether a delta waits to be sent.
  var hasDelta: Bool { !unsent.isEmpty }

  /// Whether a delta does, or the end.
  var hasNews: Bool { hasDelta || end != nil }

  /// Everything since the last delta, or as much as goes into one message.
  mutating func takeDelta() -> (delta: Silica_V1_Delta, tokenCount: Int)? {
    guard !unsent.isEmpty else { return nil }
    let (delta, count) = unsent.take(
      request.deltaTokensMax, index: index, sendsTokenIDs: request.sendsTokenIDs)
    window.noteSent(count)
    return (delta, count)
  }

  /// The same, lent as it is to be written; nil if it can only be taken.
  mutating func takeDeltaFrame(_ body: (DeltaFrame) -> Void) -> Int? {
    let count = unsent.takeFrame(
      request.deltaTokensMax, index: index, sendsTokenIDs: request.sendsTokenIDs, body)
    if let count { window.noteSent(count) }
    return count
  }

  /// The end of the choice, once, after its last delta.
  mutating func takeFinished(sendBlocked: Nanoseconds) -> Silica_V1_Finished? {
    guard let (reason, account) = end, unsent.isEmpty else { return nil }
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
