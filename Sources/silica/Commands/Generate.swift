// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Serving

/// `silica generate`.
enum Generate: Subcommand {
  static let name = "generate"
  static let summary = "generate text, in this process or from a server"

  static let options =
    [
      Option("--target", "HOST:PORT", "a running server; without it --model is loaded here"),
      Option(
        "--prompt", "TEXT", "the whole prompt; added tokens in it are matched", repeatable: true),
      Option(
        "--chat", "TEXT", "a user's message, rendered with the model's chat template",
        repeatable: true),
      Option("--system", "TEXT", "a system message before --chat"),
      Option("--max-tokens", "N", "tokens to generate", default: "128"),
      Option("--temperature", "T", "0 is greedy", default: "the model's"),
      Option("--top-p", "P", "keep tokens up to this probability", default: "the model's"),
      Option("--top-k", "K", "keep this many tokens; 0 keeps all", default: "the model's"),
      Option("--min-p", "P", "keep tokens this likely, relative to the likeliest", default: "0"),
      Option("--repetition-penalty", "X", "over 1 repeats less", default: "1"),
      Option("--seed", "N", "the same seed gives the same text", default: "drawn"),
      Option("--stop", "TEXT", "end before this text", repeatable: true),
      Option("--ignore-eos", nil, "go on past the model's end tokens"),
      Option("--usage", nil, "print token counts and times to standard error at the end"),
    ] + ServerAccess.options + ModelOptions.options + SyntheticOptions.options

  static let discussion = """
    The text goes to standard output as it comes. Several prompts run as generations of one stream;
    then each line is one delta, its generation's number before it. With --model, a server for
    this one call runs inside the process, so that both ways take the same path.

    examples:
      silica generate --target 127.0.0.1:50051 --chat "Name three rivers"
      silica generate --model DIR --prompt "Once upon a time" --max-tokens 32 --temperature 0
      silica generate --target llm.example:50051 --tls-ca ca.pem --token-file token --chat "Hello"
    """

  static func run(_ arguments: Arguments) throws {
    let starts = try GenerateArguments(arguments).starts
    guard let target = try arguments.addresses("--target").first else {
      return try runInProcess(starts, arguments)
    }
    guard !arguments.has("--model") else {
      throw UsageError("give --target or --model, not both")
    }
    try run(starts, on: try ServerAccess(target, arguments), arguments)
  }

  private static func run(
    _ starts: [Silica_V1_Start], on server: ServerAccess, _ arguments: Arguments
  ) throws {
    let showsUsage = arguments.has("--usage")
    if starts.count == 1 {
      try GenerateClient(server: server).run(starts[0], showsUsage: showsUsage)
    } else {
      try SessionClient(server: server).run(starts, showsUsage: showsUsage)
    }
  }

  private static func runInProcess(_ starts: [Silica_V1_Start], _ arguments: Arguments) throws {
    guard arguments.has("--model") else { throw UsageError("give --target or --model") }
    let model = try LoadedModel(try ModelOptions(arguments, batchMax: starts.count))
    defer { model.engine.shutdown() }
    if let note = model.note { Console.error("silica: note: \(note)\n") }
    let server = try model.server(
      ServerConfiguration(addresses: [Address(host: "127.0.0.1", port: 0)]), pollerCount: 1)
    defer { server.stop(grace: .zero) }
    try server.start()
    guard let address = server.addresses.first else { return }
    try run(starts, on: ServerAccess(plain: address), arguments)
  }
}
