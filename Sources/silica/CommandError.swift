// SPDX-License-Identifier: Apache-2.0

/// A failure of the command itself, as a file that cannot be read: one line, exit code 1.
struct CommandError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
