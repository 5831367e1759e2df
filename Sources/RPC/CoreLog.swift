// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Glibc
internal import Support
internal import Synchronization

/// What C-core writes to standard error. It writes a line for every failed handshake, with text of
/// the client's in it; so whoever reaches the port could fill the disk that the log goes to.
package enum CoreLog {
  /// Lines in one period; what comes beyond is counted.
  fileprivate static let lineCountMax = 20
  fileprivate static let periodNanoseconds: UInt64 = 10_000_000_000
  /// Bytes of one line.
  private static let lineBytesMax = 512

  fileprivate struct Period {
    var end: UInt64 = 0
    var lineCount = 0
    var droppedCount = 0
  }

  private static let period = Mutex(Period())

  /// Bounds the log from now on, unless GRPC_VERBOSITY says that somebody wants all of it.
  package static func limit() {
    guard getenv("GRPC_VERBOSITY") == nil else { return }
    gpr_set_log_function { arguments in
      if let arguments { CoreLog.take(arguments.pointee) }
    }
  }

  /// Any thread of C-core's.
  private static func take(_ arguments: gpr_log_func_args) {
    let dropped = period.withLock { $0.admit(now: Clock.nowNanoseconds) }
    guard let dropped else { return }
    if dropped > 0 { write("\(dropped) more lines were left out") }
    write(String(cString: arguments.message))
  }

  /// A line about a client, bounded with C-core's. Any thread.
  static func note(_ message: String) {
    let dropped = period.withLock { $0.admit(now: Clock.nowNanoseconds) }
    if dropped != nil { write(message) }
  }

  /// In one piece, without control characters: they could rewrite what a terminal shows.
  private static func write(_ message: String) {
    let safe = message.utf8.map { (0x20...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }
    let line = Array("silica: grpc: ".utf8) + safe.prefix(lineBytesMax) + [UInt8(ascii: "\n")]
    _ = Glibc.write(STDERR_FILENO, line, line.count)
  }
}

extension CoreLog.Period {
  /// How many lines were left out before this one; nil if it is one of them.
  fileprivate mutating func admit(now: UInt64) -> Int? {
    if now >= end {
      end = now + CoreLog.periodNanoseconds
      lineCount = 0
    }
    lineCount += 1
    guard lineCount <= CoreLog.lineCountMax else {
      droppedCount += 1
      return nil
    }
    defer { droppedCount = 0 }
    return droppedCount
  }
}
