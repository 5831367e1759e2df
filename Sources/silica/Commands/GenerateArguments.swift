// SPDX-License-Identifier: Apache-2.0

import Messages
import Wire

/// The options of `silica generate` and `silica chat` as requests.
struct GenerateArguments {
  /// How text is drawn and when it ends.
  static let options = [
    Option("--system", "TEXT", "a system message before the conversation"),
    Option("--max-tokens", "N", "tokens to generate", default: "\(tokensMax)"),
    Option("--temperature", "T", "0 is greedy", default: "the model's"),
    Option("--top-p", "P", "keep tokens up to this probability", default: "the model's"),
    Option("--top-k", "K", "keep this many tokens; 0 keeps all", default: "the model's"),
    Option("--min-p", "P", "keep tokens this likely, relative to the likeliest", default: "0"),
    Option("--repetition-penalty", "X", "over 1 repeats less", default: "1"),
    Option("--seed", "N", "the same seed gives the same text", default: "drawn"),
    Option("--stop", "TEXT", "end before this text", repeatable: true),
    Option("--ignore-eos", nil, "go on past the model's end tokens"),
    Option("--usage", nil, "print token counts and times to standard error at the end"),
  ]

  private static let tokensMax = 256

  /// All of a request but its input.
  private let template: Silica_V1_Start
  private let system: Silica_V1_ChatMessage?

  init(_ arguments: Arguments) throws(UsageError) {
    var start = Silica_V1_Start()
    start.sampling = try Self.sampling(arguments)
    start.stopping.maxTokens = UInt32(
      try arguments.integer("--max-tokens", in: 1...Int(UInt32.max)) ?? Self.tokensMax)
    start.stopping.stop = arguments.strings("--stop")
    if arguments.has("--ignore-eos") { start.stopping.ignoreEos = true }
    start.output.tokenIds = false
    template = start
    system = arguments.string("--system").map { Self.message(.system, $0) }
  }

  /// One request for each `--prompt` or `--chat`.
  func starts(_ arguments: Arguments) throws(UsageError) -> [Silica_V1_Start] {
    let texts = arguments.strings("--prompt")
    let chats = arguments.strings("--chat")
    guard texts.isEmpty != chats.isEmpty else {
      throw UsageError("give --prompt or --chat, and not both")
    }
    guard texts.isEmpty || system == nil else { throw UsageError("--system goes with --chat") }
    return texts.map { start(.text($0)) } + chats.map { start(chat: [Self.message(.user, $0)]) }
  }

  /// A request for the next turn of a conversation.
  func start(chat messages: [Silica_V1_ChatMessage]) -> Silica_V1_Start {
    start(.chat(.with { $0.messages = [system].compactMap(\.self) + messages }))
  }

  private func start(_ input: Silica_V1_Start.OneOf_Input) -> Silica_V1_Start {
    var start = template
    start.input = input
    return start
  }

  static func message(_ role: Silica_V1_Role, _ content: String) -> Silica_V1_ChatMessage {
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
