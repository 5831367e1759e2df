// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Programs that run to their end.
package enum Command {
  /// What a program left.
  package struct Result: Sendable {
    package let status: Int32
    package let output: String
    package let errors: String
  }

  /// Runs `program` (an absolute path) with `input` as its standard input, and waits for its end.
  ///
  /// Output goes through files, so that no pipe can fill up and stop the program.
  package static func run(
    _ program: String, _ arguments: [String] = [], environment: [String: String] = [:],
    input: String = ""
  ) throws -> Result {
    let folder = try TemporaryDirectory()
    let (output, errors) = (folder.path("output"), folder.path("errors"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let inputFile = folder.path("input")
    try input.write(toFile: inputFile, atomically: false, encoding: .utf8)
    process.standardInput = try FileHandle(forReadingFrom: URL(filePath: inputFile))
    process.standardOutput = try emptyFile(output)
    process.standardError = try emptyFile(errors)
    try process.run()
    process.waitUntilExit()
    return Result(
      status: process.terminationStatus,
      output: try text(output), errors: try text(errors))
  }

  /// Bytes that are no UTF-8, as a program may show them of its peer, become replacement marks.
  private static func text(_ path: String) throws -> String {
    String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
  }

  private static func emptyFile(_ path: String) throws -> FileHandle {
    try Data().write(to: URL(fileURLWithPath: path))
    return try FileHandle(forWritingTo: URL(fileURLWithPath: path))
  }
}
