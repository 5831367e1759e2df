// SPDX-License-Identifier: Apache-2.0

/// One of the things `silica` does.
protocol Subcommand: SendableMetatype {
  static var name: String { get }
  /// One line for the list of subcommands.
  static var summary: String { get }
  /// What a newcomer should know, and examples; shown by `--help`.
  static var discussion: String { get }
  static var options: [Option] { get }

  /// Does it. Throws `UsageError` for wrong usage and any other error for a failure.
  static func run(_ arguments: Arguments) throws
}

extension Subcommand {
  /// What `silica NAME --help` prints.
  static var help: String {
    var text = "\(summary)\n\nusage: silica \(name) [options]\n\noptions:\n"
    let left = options.map { option in option.name + (option.value.map { " \($0)" } ?? "") }
    let width = min(left.map(\.count).max() ?? 0, 28)
    for (head, option) in zip(left, options) {
      var help = option.help
      if let fallback = option.fallback { help += " (default: \(fallback))" }
      if option.isRepeatable { help += " (may be repeated)" }
      let padding = String(repeating: " ", count: max(1, width + 2 - head.count))
      text += "  \(head)\(padding)\(help)\n"
    }
    text += "  --help\(String(repeating: " ", count: max(1, width - 4)))show this page\n"
    return text + "\n\(discussion)\n"
  }
}
