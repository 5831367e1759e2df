// SPDX-License-Identifier: Apache-2.0

/// A long option of a subcommand, as `--help` shows it.
struct Option: Sendable {
  /// With its dashes: "--model".
  let name: String
  /// What stands for its value in the help, "DIR"; nil for a switch.
  let value: String?
  let help: String
  /// The value when it is not given, for the help.
  let fallback: String?
  let isRepeatable: Bool

  init(
    _ name: String, _ value: String? = nil, _ help: String, default fallback: String? = nil,
    repeatable: Bool = false
  ) {
    self.name = name
    self.value = value
    self.help = help
    self.fallback = fallback
    isRepeatable = repeatable
  }
}

/// The command was called wrongly: exit code 2, and where to read on.
struct UsageError: Error {
  let message: String

  init(_ message: String) { self.message = message }
}
