// SPDX-License-Identifier: Apache-2.0

package import Messages
package import Step
internal import Support
internal import Text

/// Checks a `Start` against the model and the limits, field by field.
///
/// Every refusal names the field by its path, what it holds and what was expected; nothing has been
/// spent on the request by then.
package struct RequestReader {
  private let model: ServedModel
  private let limits: ServingLimits

  package init(model: ServedModel, limits: ServingLimits) {
    self.model = model
    self.limits = limits
  }

  /// `arrival` is the time on `Clock` when the request came; `callDeadline` that of its call.
  package func read(
    _ start: Silica_V1_Start, arrival: Nanoseconds, callDeadline: Nanoseconds?
  ) throws(ServingError) -> GenerationRequest {
    guard start.model.isEmpty || start.model == model.name else {
      throw ServingError(
        .notFound, "start.model is '\(start.model.excerpt)'; this server serves '\(model.name)'",
        reason: "UNKNOWN_MODEL", field: "start.model")
    }
    let stopping = try readStopping(start.stopping)
    return GenerationRequest(
      prompt: try readPrompt(start.input),
      sampling: try readSampling(start.sampling, start.output),
      stopping: stopping,
      stopStrings: try readStopStrings(start.stopping.stop),
      choiceCount: try readChoiceCount(start.output),
      sendsTokenIDs: start.output.hasTokenIds ? start.output.tokenIds : true,
      deltaTokensMax: try readDeltaTokensMax(start.output),
      showsControlTokens: start.output.specialTokens,
      priority: start.limits.priority,
      deadline: deadline(start.limits, arrival: arrival, callDeadline: callDeadline),
      credit: start.limits.hasCredit ? Int(start.limits.credit) : nil,
      resumeTime: try readResumeTime(start.limits))
  }

  /// Refuses what only a session can do; for `Generate`.
  package static func checkNeedsNoSession(_ start: Silica_V1_Start) throws(ServingError) {
    for (field, isSet) in [
      ("credit", start.limits.hasCredit), ("resume_ms", start.limits.hasResumeMs),
    ] where isSet {
      throw .invalid(
        "start.limits.\(field)",
        "start.limits.\(field) is set; Generate takes no frames after the request: use Session")
    }
  }

  // MARK: Prompt

  private func readPrompt(
    _ input: Silica_V1_Start.OneOf_Input?
  ) throws(ServingError) -> GenerationRequest.Prompt {
    switch input {
    case nil:
      throw .invalid("start.input", "start has no input; expected text, token_ids or chat")
    case .text(let text):
      guard !text.isEmpty else {
        throw .invalid("start.text", "start.text is empty; expected a prompt")
      }
      return .text(text)
    case .tokenIds(let list):
      return .tokens(try readTokens(list.ids))
    case .chat(let chat):
      try checkChat(chat)
      return .chat(chat)
    }
  }

  private func readTokens(_ ids: [UInt32]) throws(ServingError) -> [Int32] {
    guard !ids.isEmpty else {
      throw .invalid("start.token_ids", "start.token_ids is empty; expected at least one token")
    }
    return try tokens(ids, "start.token_ids.ids")
  }

  /// Token ids of a client, all of the model's vocabulary.
  private func tokens(
    _ ids: some Collection<UInt32>, _ field: String
  ) throws(ServingError) -> [Int32] {
    if let wrong = ids.first(where: { $0 >= model.vocabularySize }) {
      throw ServingError(
        .outOfRange,
        "\(field) holds token \(wrong); expected ids from 0 to \(model.vocabularySize - 1)",
        reason: "TOKEN_OUT_OF_RANGE", field: field)
    }
    return ids.map { Int32($0) }
  }

  private func checkChat(_ chat: Silica_V1_Chat) throws(ServingError) {
    if case .failure(let error) = model.tokenizer.chatTemplate {
      throw ServingError(
        error.code, "start.chat: \(error.message)", reason: "NO_CHAT_TEMPLATE", field: "start.chat")
    }
    guard !chat.messages.isEmpty else {
      throw .invalid(
        "start.chat.messages", "start.chat.messages is empty; expected at least one message")
    }
    guard chat.messages.count <= limits.chatMessages else {
      throw .invalid(
        "start.chat.messages",
        "start.chat.messages holds \(chat.messages.count) messages; expected at most "
          + "\(limits.chatMessages)")
    }
    for (index, message) in chat.messages.enumerated() {
      let known: [Silica_V1_Role] = [.system, .user, .assistant]
      guard known.contains(message.role) else {
        throw .invalid(
          "start.chat.messages[\(index)].role",
          "start.chat.messages[\(index)].role is \(message.role.rawValue); expected ROLE_SYSTEM, "
            + "ROLE_USER or ROLE_ASSISTANT")
      }
    }
  }

  // MARK: Options

  private func readSampling(
    _ sampling: Silica_V1_Sampling, _ output: Silica_V1_Output
  ) throws(ServingError) -> SamplingParameters {
    var result = model.defaultSampling
    if sampling.hasTemperature { result.temperature = sampling.temperature }
    if sampling.hasTopP { result.topP = sampling.topP }
    if sampling.hasTopK { result.topK = Int(sampling.topK) }
    if sampling.hasMinP { result.minP = sampling.minP }
    if sampling.hasRepetitionPenalty { result.repetitionPenalty = sampling.repetitionPenalty }
    if sampling.hasPresencePenalty { result.presencePenalty = sampling.presencePenalty }
    if sampling.hasFrequencyPenalty { result.frequencyPenalty = sampling.frequencyPenalty }
    guard sampling.logitBias.count <= limits.logitBiases else {
      throw .invalid(
        "start.sampling.logit_bias",
        "start.sampling.logit_bias has \(sampling.logitBias.count) entries; expected at most "
          + "\(limits.logitBiases)")
    }
    let biases = sampling.logitBias.sorted { $0.key < $1.key }
    let biased = try tokens(biases.map(\.key), "start.sampling.logit_bias")
    result.logitBias = zip(biased, biases).map { TokenBias(token: $0, bias: $1.value) }
    result.seed = sampling.hasSeed ? sampling.seed : .random(in: 0...UInt64.max)
    result.logprobs = output.hasLogprobs ? Int(output.logprobs) : nil
    do {
      try result.validate(vocabularyCount: model.vocabularySize)
    } catch {
      let group = error.field == "logprobs" ? "output" : "sampling"
      throw .invalid("start.\(group).\(error.field)", "start.\(group).\(error.message)")
    }
    return result
  }

  private func readStopping(
    _ stopping: Silica_V1_Stopping
  ) throws(ServingError) -> StoppingParameters {
    guard stopping.stopTokenIds.count <= limits.stopTokens else {
      throw .invalid(
        "start.stopping.stop_token_ids",
        "start.stopping.stop_token_ids holds \(stopping.stopTokenIds.count) tokens; expected at "
          + "most \(limits.stopTokens)")
    }
    let own = try tokens(stopping.stopTokenIds, "start.stopping.stop_token_ids")
    let result = StoppingParameters(
      maxTokens: stopping.hasMaxTokens ? Int(stopping.maxTokens) : nil,
      minTokens: Int(stopping.minTokens),
      stopTokens: own + (stopping.ignoreEos ? [] : model.endTokens))
    do {
      try result.validate(vocabularyCount: model.vocabularySize)
    } catch {
      throw .invalid("start.stopping.\(error.field)", "start.stopping.\(error.message)")
    }
    return result
  }

  private func readStopStrings(_ stops: [String]) throws(ServingError) -> [String] {
    guard stops.count <= limits.stopStrings else {
      throw .invalid(
        "start.stopping.stop",
        "start.stopping.stop holds \(stops.count) strings; expected at most \(limits.stopStrings)")
    }
    for (index, stop) in stops.enumerated() {
      let size = stop.utf8.count
      guard size > 0, size <= limits.stopStringBytes else {
        throw .invalid(
          "start.stopping.stop[\(index)]",
          "start.stopping.stop[\(index)] has \(size) bytes; expected 1 to "
            + "\(limits.stopStringBytes)")
      }
    }
    return stops
  }

  private func readChoiceCount(_ output: Silica_V1_Output) throws(ServingError) -> Int {
    let count = output.hasN ? Int(output.n) : 1
    guard (1...limits.choicesPerGeneration).contains(count) else {
      throw .invalid(
        "start.output.n",
        "start.output.n is \(count); expected 1 to \(limits.choicesPerGeneration)")
    }
    return count
  }

  private func readDeltaTokensMax(_ output: Silica_V1_Output) throws(ServingError) -> Int {
    guard output.hasDeltaTokensMax else { return limits.deltaTokens }
    guard output.deltaTokensMax > 0 else {
      throw .invalid(
        "start.output.delta_tokens_max", "start.output.delta_tokens_max is 0; expected 1 or more")
    }
    return min(Int(output.deltaTokensMax), limits.deltaTokens)
  }

  private func readResumeTime(
    _ request: Silica_V1_RequestLimits
  ) throws(ServingError) -> Nanoseconds? {
    guard request.hasResumeMs, request.resumeMs > 0 else { return nil }
    guard request.resumeMs <= limits.resumeMilliseconds else {
      throw .invalid(
        "start.limits.resume_ms",
        "start.limits.resume_ms is \(request.resumeMs); expected at most "
          + "\(limits.resumeMilliseconds)")
    }
    return UInt64(request.resumeMs) * 1_000_000
  }

  private func deadline(
    _ limits: Silica_V1_RequestLimits, arrival: Nanoseconds, callDeadline: Nanoseconds?
  ) -> Nanoseconds? {
    let own = limits.hasDeadlineMs ? arrival + UInt64(limits.deadlineMs) * 1_000_000 : nil
    // What can be resumed is not bound to its first call.
    let outlivesCall = limits.hasResumeMs && limits.resumeMs > 0
    return [own, outlivesCall ? nil : callDeadline].compactMap(\.self).min()
  }
}
