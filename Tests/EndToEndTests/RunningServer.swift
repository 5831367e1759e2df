// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import RPC
import TestSupport
import Testing

/// A `silica serve` that runs beside a test, on a free port.
///
/// It waits by sleeping, not by suspending: while other tests keep the threads of the concurrency
/// pool busy, a suspended test would come back late, and limits in time would mean nothing.
final class RunningServer: @unchecked Sendable {  // Process is used for reading after `start`
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// How a server ended: its exit code, or the signal that ended it.
  enum End: Equatable {
    case exit(Int32)
    case signal(Int32)
  }

  private let process = Process()
  private let folder: TemporaryDirectory
  private(set) var address = Address(host: "", port: 0)
  /// HOST:PORT.
  var target: String { address.description }

  /// Runs `body` beside a server, and ends the server whatever happens.
  static func with(
    model: String, _ options: [String] = [], descriptorLimit: Int? = nil,
    environment: [String: String] = [:], _ body: (RunningServer) throws -> Void
  ) throws {
    let server = try start(
      model: model, options, descriptorLimit: descriptorLimit, environment: environment)
    defer { server.stop() }
    try body(server)
  }

  /// Starts a server and waits until it listens. It runs until `stop`.
  static func start(
    model: String, _ options: [String] = [], descriptorLimit: Int? = nil,
    environment: [String: String] = [:]
  ) throws -> RunningServer {
    let server = try RunningServer(
      model: model, options, descriptorLimit: descriptorLimit, environment: environment)
    do {
      try server.waitUntilReady()
    } catch {
      server.stop()
      throw Failure(description: "\(error); the server wrote:\n\(server.errors)")
    }
    return server
  }

  /// Starts a server and does not wait for anything.
  init(
    model: String, _ options: [String] = [], descriptorLimit: Int? = nil,
    environment: [String: String] = [:]
  ) throws {
    folder = try TemporaryDirectory()
    let command = try SilicaCommand.path()
    let listen = options.contains("--listen") ? [] : ["--listen", "127.0.0.1:0"]
    let arguments = ["serve", "--model", model] + listen + options
    if let descriptorLimit {
      process.executableURL = URL(filePath: "/usr/bin/prlimit")
      process.arguments = ["--nofile=\(descriptorLimit)", command] + arguments
    } else {
      process.executableURL = URL(filePath: command)
      process.arguments = arguments
    }
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try Self.emptyFile(folder.path("output"))
    process.standardError = try Self.emptyFile(folder.path("errors"))
    try process.run()
  }

  private static func emptyFile(_ path: String) throws -> FileHandle {
    try Data().write(to: URL(filePath: path))
    return try FileHandle(forWritingTo: URL(filePath: path))
  }

  /// Waits for the line that says where it listens.
  private func waitUntilReady() throws {
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
      let lines = output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      if let line = lines.first(where: { $0.hasPrefix("silica: listening on ") }) {
        address = try Address(parsing: String(line.dropFirst("silica: listening on ".count)))
        return
      }
      guard process.isRunning else { throw Failure(description: "the server ended at its start") }
      usleep(20_000)
    }
    throw Failure(description: "the server did not listen within 60 s")
  }

  // MARK: What it wrote

  var output: String { (try? String(contentsOfFile: folder.path("output"), encoding: .utf8)) ?? "" }
  var errors: String { (try? String(contentsOfFile: folder.path("errors"), encoding: .utf8)) ?? "" }

  /// Waits for a word of it on standard error; false after ten seconds.
  func waitForErrors(_ text: String) -> Bool {
    let end = ContinuousClock.now + .seconds(10)
    while !errors.contains(text) {
      guard ContinuousClock.now < end else { return false }
      usleep(20_000)
    }
    return true
  }

  // MARK: Its end

  var isRunning: Bool { process.isRunning }

  /// Sends SIGTERM.
  func terminate() { kill(process.processIdentifier, SIGTERM) }

  /// Waits for its end; nil if it still runs when the time is over.
  func end(within limit: Duration) -> End? {
    let end = ContinuousClock.now + limit
    while process.isRunning {
      guard ContinuousClock.now < end else { return nil }
      usleep(20_000)
    }
    return process.terminationReason == .exit
      ? .exit(process.terminationStatus) : .signal(process.terminationStatus)
  }

  /// Ends it at once, as a crash would.
  func crash() {
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }

  /// Ends it: SIGTERM, and SIGKILL if that is not enough.
  func stop() {
    guard process.isRunning else { return }
    terminate()
    guard end(within: .seconds(5)) == nil else { return }
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }
}

extension RunningServer {
  /// What a process holds of the machine.
  struct Footprint: CustomStringConvertible {
    let openFiles: Int
    let residentKiB: Int

    var description: String { "\(openFiles) open files, \(residentKiB) KiB resident" }
  }

  /// As `/proc` has it.
  func footprint() throws -> Footprint {
    let folder = "/proc/\(process.processIdentifier)"
    let status = try String(contentsOfFile: "\(folder)/status", encoding: .utf8)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
    return Footprint(
      openFiles: try FileManager.default.contentsOfDirectory(atPath: "\(folder)/fd").count,
      residentKiB: try #require(Int(line.filter(\.isNumber))))
  }

  /// Lets it open no more files than so many, those that are open included.
  func limitDescriptors(to count: Int) throws {
    let result = try Command.run(
      "/usr/bin/prlimit", ["--pid", "\(process.processIdentifier)", "--nofile=\(count)"])
    #expect(result.status == 0, "\(result.errors)")
  }

  /// Seconds of CPU time that it has used.
  func cpuSeconds() throws -> Double {
    let path = "/proc/\(process.processIdentifier)/stat"
    let stat = try String(contentsOfFile: path, encoding: .utf8)
    // After the name, which is in parentheses, user and system time are the 12th and 13th field.
    let fields = try #require(stat.split(separator: ")").last).split(separator: " ")
    let ticks = fields[11...12].compactMap { Double($0) }.reduce(0, +)
    return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }
}
