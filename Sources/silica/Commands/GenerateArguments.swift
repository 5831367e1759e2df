// SPDX-License-Identifier: Apache-2.0

import Messages
import Wire

/// The options of `silica generate` as requests, one for each prompt.
struct GenerateArguments {
  let starts: [Silica_V1_Start]

  init(_ arguments: Arguments) throws(UsageError) {
    var start = Silica_V1_Start()
    start.sampling = try Self.sampling(arguments)
    start.stopping.maxTokens = UInt32(
      try arguments.integer("--max-tokens", in: 1...Int(UInt32.max)) ?? 128)
    start.stopping.stop = arguments.strings("--stop")
    if arguments.has("--ignore-eos") { start.stopping.ignoreEos = true }
    start.output.tokenIds = false
    starts = try Self.inputs(arguments).map { input in
      var copy = start
      copy.input = input
      return copy
    }
  }

  private static func inputs(
    _ arguments: Arguments
  ) throws(UsageError) -> [Silica_V1_Start.OneOf_Input] {
    let texts = arguments.strings("--prompt")
    let chats = arguments.strings("--chat")
    guard texts.isEmpty != chats.isEmpty else {
      throw UsageError("give --prompt or --chat, and not both")
    }
    guard texts.isEmpty || !arguments.has("--system") else {
      throw UsageError("--system goes with --chat")
    }
    let system = arguments.string("--system").map { message(.system, $0) }
    return texts.map { .text($0) }
      + chats.map { text in
        .chat(.with { $0.messages = [system, message(.user, text)].compactMap(\.self) })
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
