// SPDX-License-Identifier: Apache-2.0

import Cache
package import Step
import Support

extension Scheduler {
  /// Takes sequences in, all of them or none: the choices of one request come together.
  /// Each of them ends with exactly one `.finished` event.
  package mutating func enqueue(_ requests: [SequenceRequest], now: Nanoseconds)
    throws(AdmissionError)
  {
    var maxTokens: [Int] = []
    for request in requests {
      try checkPrompt(request)
      maxTokens.append(
        try fittingMaxTokens(
          request.stopping.maxTokens, promptCount: request.prompt.count))
    }
    try checkQueue(requests, now: now)
    for (request, maxTokens) in zip(requests, maxTokens) {
      let state = SequenceState(request, maxTokens: maxTokens, order: nextOrder, now: now)
      nextOrder += 1
      let slot = sequences.insert(state)
      waiting.insert(slot, rank: state.rank)
      waitingPromptTokens += state.promptCount
      noteDeadline(state.deadline)
      if state.isOutOfAllowance { pause(slot) }
    }
  }

  /// Ends a sequence: at once, or when the steps under way that use it are complete; its blocks
  /// are free then. False when it has ended already.
  @discardableResult
  package mutating func end(_ id: SequenceID, _ reason: FinishReason, now: Nanoseconds) -> Bool {
    guard let slot = sequences.slot(of: id), !sequences[slot].isEnding else { return false }
    end(slot: slot, reason, now: now)
    return true
  }

  /// Changes a sequence; nil leaves a value as it is. False when it has ended already.
  @discardableResult
  package mutating func update(
    _ id: SequenceID, priority: Int32? = nil, maxTokens: Int? = nil,
    deadline: Nanoseconds? = nil, now: Nanoseconds
  ) throws(AdmissionError) -> Bool {
    guard let slot = sequences.slot(of: id), !sequences[slot].isEnding else { return false }
    if let maxTokens {
      sequences[slot].maxTokens = try fittingMaxTokens(
        maxTokens, promptCount: sequences[slot].promptCount)
    }
    if let priority { setRank(slot) { $0.priority = priority } }
    if let deadline {
      sequences[slot].deadline = deadline
      noteDeadline(deadline)
    }
    if maxTokens != nil, sequences[slot].generatedCount >= sequences[slot].maxTokens {
      end(slot: slot, .length, now: now)
    }
    return true
  }

  /// Lets a sequence generate `count` tokens in all. With so many generated it is paused: out of
  /// batch and queue, so that its place is lent out; it keeps its blocks until others need them.
  /// Below that it goes on, waiting for its turn to join the batch. A token that is being computed
  /// still comes. Returns whether that paused it or let it go on.
  @discardableResult
  package mutating func allow(_ id: SequenceID, tokens count: Int) -> Bool {
    guard let slot = sequences.slot(of: id), !sequences[slot].isEnding else { return false }
    sequences[slot].tokenAllowance = count
    guard sequences[slot].isOutOfAllowance != sequences[slot].isPaused else { return false }
    if sequences[slot].isPaused { unpause(slot) } else { pause(slot) }
    return true
  }

  /// Ends what has passed its deadline. `plan` does so, too; call this where no plan is made.
  package mutating func expire(now: Nanoseconds) {
    guard let next = nextDeadline, next <= now else { return }
    nextDeadline = nil
    for slot in sequences.slots where !sequences[slot].isEnding {
      guard let deadline = sequences[slot].deadline else { continue }
      if deadline <= now { end(slot: slot, .deadline, now: now) } else { noteDeadline(deadline) }
    }
  }

  // MARK: Admission

  private func checkPrompt(_ request: SequenceRequest) throws(AdmissionError) {
    let prompt = request.prompt
    if prompt.isEmpty {
      throw .unfit(field: "input", message: "input is empty; expected at least 1 token")
    }
    let contextLength = configuration.contextLength
    let countMax = request.isScoring ? contextLength : contextLength - 1
    if prompt.count > countMax {
      throw .unfit(
        field: "input",
        message: "input is \(prompt.count) tokens; expected at most \(countMax), as the context "
          + "holds \(contextLength)")
    }
    for (position, token) in prompt.enumerated()
    where token < 0 || Int(token) >= configuration.vocabularyCount {
      throw .unfit(
        field: "input",
        message: "input holds token \(token) at position \(position); expected ids from 0 to "
          + "\(configuration.vocabularyCount - 1)")
    }
  }

  /// Tokens to generate that context and cache have room for. The last of them needs no block.
  /// Throws when `maxTokens` can never be reached.
  package func fittingMaxTokens(_ maxTokens: Int?, promptCount: Int) throws(AdmissionError) -> Int {
    let contextRoom = configuration.contextLength - promptCount
    let cacheRoom = cache.tokenCountMax - promptCount + 1
    if cacheRoom < 1 {
      throw .unfit(
        field: "input",
        message: "input is \(promptCount) tokens; expected at most \(cache.tokenCountMax), which "
          + "the KV cache holds")
    }
    guard let maxTokens else { return min(contextRoom, cacheRoom) }
    if maxTokens < 1 {
      throw .unfit(field: "max_tokens", message: "max_tokens is \(maxTokens); expected 1 or more")
    }
    if min(maxTokens, contextRoom) > cacheRoom {
      throw .unfit(
        field: "max_tokens",
        message: "max_tokens is \(maxTokens) after \(promptCount) tokens of input; expected at "
          + "most \(cacheRoom), as the KV cache holds \(cache.tokenCountMax) tokens")
    }
    return min(maxTokens, contextRoom)
  }

  private func checkQueue(_ requests: [SequenceRequest], now: Nanoseconds) throws(AdmissionError) {
    let countMax = configuration.waitingCountMax
    if requests.count > countMax {
      throw .unfit(
        field: "n", message: "n is \(requests.count); expected at most \(countMax)")
    }
    let held = sequences.count - running.count
    let excess = held + requests.count - countMax
    if excess > 0 {
      throw .full(
        .sequences, holds: held, limit: countMax,
        retryDelay: throughput.delay(sequences: excess, promptTokens: 0, now: now))
    }
    let tokensMax = configuration.waitingPromptTokensMax
    let added = requests.reduce(0) { $0 + $1.prompt.count }
    let excessTokens = waitingPromptTokens + added - tokensMax
    if excessTokens > 0, waitingPromptTokens > 0 {
      throw .full(
        .promptTokens, holds: waitingPromptTokens, limit: tokensMax,
        retryDelay: throughput.delay(
          sequences: 0, promptTokens: min(excessTokens, waitingPromptTokens), now: now))
    }
  }

  private mutating func noteDeadline(_ deadline: Nanoseconds?) {
    guard let deadline else { return }
    nextDeadline = min(nextDeadline ?? deadline, deadline)
  }
}
