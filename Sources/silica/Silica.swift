// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The command: picks the subcommand, and turns errors into one line and an exit code (0 success,
/// 1 failure, 2 wrong usage).
@main enum Silica {
  static let version = "0.1.0"

  static let subcommands: [any Subcommand.Type] = [
    Serve.self, Chat.self, Generate.self, Logits.self, Tokenize.self, Bench.self, Quantize.self,
    Verify.self, Profile.self, Plan.self, TopologyShow.self,
  ]

  static func main() {
    // A peer that goes away must end a write with an error, not the process.
    signal(SIGPIPE, SIG_IGN)
    // Some parents leave them blocked in what they start.
    StopSignals.endProcessAtNext()
    exit(run(Array(CommandLine.arguments.dropFirst())))
  }

  private static func run(_ words: [String]) -> Int32 {
    guard let first = words.first else {
      Console.error(help)
      return 2
    }
    if ["--help", "-h", "help"].contains(first) {
      Console.out(help)
      return 0
    }
    if first == "--version" {
      Console.out("silica \(version)\n")
      return 0
    }
    guard let subcommand = subcommands.first(where: { $0.name == first }) else {
      Console.error("silica: unknown subcommand '\(first)'; try 'silica --help'\n")
      return 2
    }
    return run(subcommand, words.dropFirst())
  }

  private static func run(_ subcommand: any Subcommand.Type, _ words: ArraySlice<String>) -> Int32 {
    if words.contains("--help") || words.contains("-h") {
      Console.out(subcommand.help)
      return 0
    }
    do {
      try subcommand.run(Arguments(words, options: subcommand.options))
      return 0
    } catch let error as UsageError {
      Console.error(
        "silica \(subcommand.name): \(error.message); try 'silica \(subcommand.name) --help'\n")
      return 2
    } catch {
      Console.error("silica \(subcommand.name): \(error)\n")
      return 1
    }
  }

  private static var help: String {
    // Metatypes are named one by one here: key paths on them crash the compiler (Swift 6.3.1).
    var width = 0
    for command in subcommands { width = max(width, command.name.count) }
    var list = ""
    for command in subcommands {
      let padding = String(repeating: " ", count: width + 2 - command.name.count)
      list += "  \(command.name)\(padding)\(command.summary)\n"
    }
    return """
      Serves DeepSeek-family models over bidirectional gRPC streams.

      usage: silica SUBCOMMAND [options]

      subcommands:
      \(list)
      'silica SUBCOMMAND --help' explains one. Begin with:
        silica serve --model DIR        DIR is a Hugging Face checkpoint, as downloaded
        silica generate --target HOST:PORT --chat "Hello"

      """
  }
}
