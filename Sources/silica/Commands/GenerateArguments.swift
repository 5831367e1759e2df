// SPDX-License-Identifier: Apache-2.0

import Messages

/// The options of `silica generate` as a request.
struct GenerateArguments {
  let request: Silica_V1_GenerateRequest

  init(_ arguments: Arguments) throws(UsageError) {
    var start = Silica_V1_Start()
    start.input = try Self.input(arguments)
    start.sampling = try Self.sampling(arguments)
    start.stopping.maxTokens = UInt32(
      try arguments.integer("--max-tokens", in: 1...Int(UInt32.max)) ?? 128)
    start.stopping.stop = arguments.strings("--stop")
    if arguments.has("--ignore-eos") { start.stopping.ignoreEos = true }
    start.output.tokenIds = false
    var request = Silica_V1_GenerateRequest()
    request.start = start
    self.request = request
  }

  private static func input(
    _ arguments: Arguments
  ) throws(UsageError) -> Silica_V1_Start.OneOf_Input {
    switch (arguments.string("--prompt"), arguments.string("--chat")) {
    case (let text?, nil):
      guard !arguments.has("--system") else { throw UsageError("--system goes with --chat") }
      return .text(text)
    case (nil, let text?):
      var chat = Silica_V1_Chat()
      if let system = arguments.string("--system") {
        chat.messages.append(message(.system, system))
      }
      chat.messages.append(message(.user, text))
      return .chat(chat)
    default: throw UsageError("give one of --prompt and --chat")
    }
  }

  private static func message(_ role: Silica_V1_Role, _ content: String) -> Silica_V1_ChatMessage {
    var message = Silica_V1_ChatMessage()
    message.role = role
    message.content = content
    return message
  }

  private static func sampling(_ arguments: Arguments) throws(UsageError) -> Silica_V1_Sampling {
    var sampling = Silica_V1_Sampling()
    if let value = try arguments.float("--temperature") { sampling.temperature = value }
    if let value = try arguments.float("--top-p") { sampling.topP = value }
    if let value = try arguments.integer("--top-k", in: 0...Int(Int32.max)) {
      sampling.topK = UInt32(value)
    }
    if let value = try arguments.float("--min-p") { sampling.minP = value }
    if let value = try arguments.float("--repetition-penalty") {
      sampling.repetitionPenalty = value
    }
    if let value = try arguments.integer("--seed", in: 0...Int.max) {
      sampling.seed = UInt64(value)
    }
    return sampling
  }
}
