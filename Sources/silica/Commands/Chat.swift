// SPDX-License-Identifier: Apache-2.0

import Messages

/// `silica chat`.
enum Chat: Subcommand {
  static let name = "chat"
  static let summary = "a conversation in the terminal"

  static let options = GenerateArguments.options + CommandServer.options

  static let discussion = """
    Reads a line, writes the answer, and so on until the input ends. Each request holds the whole
    conversation; the server computes only what is new in it. What a model thinks before its answer
    goes to standard error, and is no part of the conversation.

    examples:
      silica chat --target 127.0.0.1:50051
      silica chat --model DIR --system "Answer in one sentence." --temperature 0
    """

  static func run(_ arguments: Arguments) throws {
    let requests = try GenerateArguments(arguments)
    let showsUsage = arguments.has("--usage")
    try CommandServer.use(arguments, batchMax: 1) { server in
      let client = GenerateClient(server: server)
      defer { client.stop() }
      var conversation: [Silica_V1_ChatMessage] = []
      while let line = nextLine() {
        conversation.append(GenerateArguments.message(.user, line))
        let answer = try client.run(requests.start(chat: conversation), showsUsage: showsUsage)
        conversation.append(GenerateArguments.message(.assistant, answer))
      }
    }
  }

  /// The next line with something in it. What no person typed is shown, so that the output reads as
  /// the conversation.
  private static func nextLine() -> String? {
    while true {
      if Console.inputIsTerminal { Console.out("> ") }
      guard let line = readLine() else { return nil }
      guard !line.allSatisfy(\.isWhitespace) else { continue }
      if !Console.inputIsTerminal { Console.out("> \(line)\n") }
      return line
    }
  }
}
