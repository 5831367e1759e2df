// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport

/// The program that was built with these tests.
enum SilicaCommand {
  struct Missing: Error, CustomStringConvertible {
    let description: String
  }

  /// It lies beside the tests' own executable.
  static func path() throws -> String {
    let path = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appending(path: "silica").path
    guard FileManager.default.isExecutableFile(atPath: path) else {
      throw Missing(
        description: "\(path) is missing; `swift build --product silica` builds it, with the same "
          + "`-c` as the tests")
    }
    return path
  }

  /// Runs it to its end, or for a minute: then its status is 124.
  static func run(_ arguments: String...) throws -> Command.Result { try run(arguments) }

  static func run(_ arguments: [String], input: String = "") throws -> Command.Result {
    try Command.run(
      "/usr/bin/timeout", ["--kill-after=5", "60", try path()] + arguments, input: input)
  }
}

extension Command.Result {
  /// Lines of standard error.
  var errorLines: [Substring] { errors.split(separator: "\n") }

  /// Standard output as JSON.
  var json: JSON { get throws { try Array(output.utf8).withUnsafeBytes { try JSON(parsing: $0) } } }
}

/// Checkpoints that these tests serve.
enum TestModel {
  /// The bundled one: untrained, with a tokenizer; 4 layers, 4,096 tokens of context.
  static let tiny = Repository.path("Models/tiny-deepseek-v3")

  /// A synthetic checkpoint with the bundled tokenizer, so that it can be served.
  static func withTokenizer(_ name: String) throws -> SyntheticCheckpoint {
    let checkpoint = try SyntheticCheckpoint(name)
    for file in ["tokenizer.json", "tokenizer_config.json"] {
      try FileManager.default.copyItem(
        atPath: "\(tiny)/\(file)", toPath: "\(checkpoint.directory)/\(file)")
    }
    return checkpoint
  }
}
