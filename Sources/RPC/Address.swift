// SPDX-License-Identifier: Apache-2.0

internal import Support

/// A host and a port, written `host:port` or `[IPv6]:port`.
package struct Address: Hashable, Sendable, CustomStringConvertible {
  package var host: String
  /// 0 asks the system for a free port.
  package var port: UInt16

  package init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Reads `host:port`, as in `localhost:50051`, `0.0.0.0:0` or `[::1]:50051`.
  package init(parsing text: String) throws(RPCError) {
    guard
      let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else { throw Self.unreadable(text) }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      throw Self.unreadable(text)
    }
    guard !host.isEmpty else { throw Self.unreadable(text) }
    self.init(host: String(host), port: port)
  }

  package var description: String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  private static func unreadable(_ text: String) -> RPCError {
    RPCError(
      .invalidArgument,
      "address '\(text)': expected host:port with a port from 0 to 65535, as in localhost:50051")
  }
}
