// SPDX-License-Identifier: Apache-2.0

import Glibc
import RPC

/// How much of itself a server lends to its clients: the limits of the transport.
struct ServeLimits {
  private static let defaults = RPCLimits()
  private static let connectionCountDefault = 10_000

  static let options = [
    Option("--max-connections", "N", "connections open at once", default: "10000"),
    Option(
      "--max-streams", "N", "calls open at once on a connection",
      default: "\(defaults.concurrentStreamsMax)"),
    Option(
      "--max-calls", "N", "calls open at once on the server", default: "\(defaults.callCountMax)"),
    Option("--max-message-size", "SIZE", "the largest message of a client", default: "16M"),
    Option("--max-metadata-size", "SIZE", "the largest headers of a call", default: "16K"),
    Option("--transport-memory", "SIZE", "memory for messages on their way", default: "1G"),
  ]

  let rpc: RPCLimits
  private let connectionCountMax: Int

  init(_ arguments: Arguments) throws(UsageError) {
    var limits = Self.defaults
    let counts = 1...10_000_000
    connectionCountMax =
      try arguments.integer("--max-connections", in: counts) ?? Self.connectionCountDefault
    limits.concurrentStreamsMax =
      try arguments.integer("--max-streams", in: counts) ?? limits.concurrentStreamsMax
    limits.callCountMax = try arguments.integer("--max-calls", in: counts) ?? limits.callCountMax
    limits.receiveMessageBytesMax =
      try arguments.bytes("--max-message-size", in: 1 << 10...1 << 30)
      ?? limits.receiveMessageBytesMax
    limits.metadataBytesMax =
      try arguments.bytes("--max-metadata-size", in: 1 << 10...16 << 20)
      ?? limits.metadataBytesMax
    limits.resourceQuotaBytes =
      try arguments.bytes("--transport-memory", in: 16 << 20...1 << 50)
      ?? limits.resourceQuotaBytes
    rpc = limits
  }

  /// File descriptors that stay free for files, beside those in use before the first connection.
  private static let spareDescriptorCount = 16

  /// Limits connections to what was asked for and to what the process has descriptors for. Call it
  /// when the server listens.
  func limitConnections() throws {
    let room = max(
      1, Self.descriptorLimit() - Self.openDescriptorCount() - Self.spareDescriptorCount)
    if room < connectionCountMax {
      Console.error(
        "silica: note: room for \(room) connections and not \(connectionCountMax): "
          + "the limit of open files (ulimit -Hn) is \(Self.descriptorLimit())\n")
    }
    try ConnectionGate.limit(to: min(room, connectionCountMax))
  }

  /// Raises the limit of file descriptors to the most that the system allows this process.
  static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  private static func descriptorLimit() -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1_024 }
    return Int(clamping: limit.rlim_cur)
  }

  private static func openDescriptorCount() -> Int {
    guard let folder = opendir("/proc/self/fd") else { return 64 }
    defer { closedir(folder) }
    var count = 0
    while let entry = readdir(folder) { count += entry.pointee.d_name.0 == 0x2E ? 0 : 1 }
    return count
  }
}

extension Arguments {
  /// Bytes within a range; nil when the option is not given.
  func bytes(_ name: String, in range: ClosedRange<Int>) throws(UsageError) -> Int? {
    guard let value = try bytes(name) else { return nil }
    guard range.contains(value) else {
      throw UsageError(
        "\(name) is \(value) bytes; expected from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }
}
