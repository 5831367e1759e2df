// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc

/// A Python program that runs beside a test and talks over pipes.
///
/// It is the interpreter of the repository's `.venv`. What it writes to standard error appears in
/// the test's output. Each read has a time limit, and the program is killed when the last
/// reference goes. To be used by one thread at a time.
package final class PythonProcess {
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private let readTimeoutMs: Int32
  private var unread: [UInt8] = []
  private var unreadStart = 0

  /// Starts `script` (an absolute path, see `Repository.path`).
  ///
  /// - Parameter readTimeoutMs: how long one read waits for the next bytes before it fails.
  package init(
    script: String, arguments: [String] = [], environment: [String: String] = [:],
    readTimeoutMs: Int32 = 60_000
  ) throws {
    self.readTimeoutMs = readTimeoutMs
    process.executableURL = URL(fileURLWithPath: try Self.interpreter())
    process.arguments = [script] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = input
    process.standardOutput = output
    // A program that ended early is reported by the next read, not by a signal.
    signal(SIGPIPE, SIG_IGN)
    try process.run()
  }

  deinit { kill() }

  package var processIdentifier: Int32 { process.processIdentifier }

  /// Writes all bytes to the program's standard input.
  package func write(_ bytes: [UInt8]) throws {
    try input.fileHandleForWriting.write(contentsOf: Data(bytes))
  }

  /// Writes a line; the newline is added.
  package func writeLine(_ line: String) throws { try write(Array(line.utf8) + [0x0A]) }

  /// Writes a frame: the length as 4 bytes, least first, and the bytes.
  package func writeFrame(_ bytes: [UInt8]) throws {
    try write(withUnsafeBytes(of: UInt32(bytes.count).littleEndian) { Array($0) } + bytes)
  }

  /// Reads a frame as `writeFrame` writes it.
  package func readFrame() throws -> [UInt8] {
    let length = try read(count: 4).reversed().reduce(0) { $0 << 8 | Int($1) }
    return try read(count: length)
  }

  /// Reads up to the next newline, which is dropped.
  package func readLine() throws -> String {
    var searched = unreadStart
    while true {
      if let end = unread[searched...].firstIndex(of: 0x0A) {
        return String(decoding: take(end - unreadStart + 1).dropLast(), as: UTF8.self)
      }
      let known = unread.count - unreadStart
      try fill()
      searched = unreadStart + known
    }
  }

  /// Reads exactly `count` bytes.
  package func read(count: Int) throws -> [UInt8] {
    while unread.count - unreadStart < count { try fill() }
    return take(count)
  }

  /// Ends the program's input, waits for its end, and returns its exit status.
  package func finish() throws -> Int32 {
    try input.fileHandleForWriting.close()
    process.waitUntilExit()
    return process.terminationStatus
  }

  /// Ends the program at once.
  package func kill() {
    guard process.isRunning else { return }
    Glibc.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }

  private func take(_ count: Int) -> [UInt8] {
    defer { unreadStart += count }
    return Array(unread[unreadStart..<unreadStart + count])
  }

  private func fill() throws {
    let descriptor = output.fileHandleForReading.fileDescriptor
    var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&ready, 1, readTimeoutMs) > 0 else {
      throw Failure(description: "Python wrote nothing for \(readTimeoutMs) ms")
    }
    unread.removeFirst(unreadStart)
    unreadStart = 0
    var chunk = [UInt8](repeating: 0, count: 65_536)
    let count = Glibc.read(descriptor, &chunk, chunk.count)
    guard count > 0 else { throw Failure(description: "Python ended its output too early") }
    unread.append(contentsOf: chunk[..<count])
  }

  /// Runs the interpreter to its end: `run(["-m", "grpc_tools.protoc", …])`.
  package static func run(
    _ arguments: [String], environment: [String: String] = [:]
  ) throws -> Command.Result {
    try Command.run(try interpreter(), arguments, environment: environment)
  }

  /// The interpreter's path.
  private static func interpreter() throws -> String {
    let python = Repository.path(".venv/bin/python")
    guard FileManager.default.isExecutableFile(atPath: python) else {
      throw Failure(description: "\(python) is missing; `make test` creates it")
    }
    return python
  }
}
