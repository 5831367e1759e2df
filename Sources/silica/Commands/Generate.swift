// SPDX-License-Identifier: Apache-2.0

/// `silica generate`.
enum Generate: Subcommand {
  static let name = "generate"
  static let summary = "generate text, in this process or from a server"

  static let options =
    [
      Option(
        "--prompt", "TEXT", "the whole prompt; added tokens in it are matched", repeatable: true),
      Option(
        "--chat", "TEXT", "a user's message, rendered with the model's chat template",
        repeatable: true),
    ] + GenerateArguments.options + CommandServer.options

  static let discussion = """
    The text goes to standard output as it comes, and what a model thinks before its answer to
    standard error. Several prompts run as generations of one stream; then each line is one delta,
    its generation's number before it. With --model, a server for this one call runs inside the
    process, so that both ways take the same path.

    examples:
      silica generate --target 127.0.0.1:50051 --chat "Name three rivers"
      silica generate --model DIR --prompt "Once upon a time" --max-tokens 32 --temperature 0
      silica generate --target llm.example:50051 --tls-ca ca.pem --token-file token --chat "Hello"
    """

  static func run(_ arguments: Arguments) throws {
    let starts = try GenerateArguments(arguments).starts(arguments)
    let showsUsage = arguments.has("--usage")
    try CommandServer.use(arguments, batchMax: starts.count) { server in
      guard starts.count == 1 else {
        return try SessionClient(server: server).run(starts, showsUsage: showsUsage)
      }
      let client = GenerateClient(server: server)
      defer { client.stop() }
      try client.run(starts[0], showsUsage: showsUsage)
    }
  }
}
