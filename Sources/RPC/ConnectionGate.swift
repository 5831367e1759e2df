// SPDX-License-Identifier: Apache-2.0

internal import CAccept
internal import Glibc
internal import Support

/// The limit for connections, of all servers of the process together. What is over it is closed as
/// soon as it is accepted; so is what comes while there is no file descriptor left, where C-core
/// alone would stop listening for good.
package enum ConnectionGate {
  /// Connections that were closed at once.
  package struct Refusals: Hashable, Sendable {
    package var overLimit = 0
    package var withoutDescriptor = 0

    package init() {}
  }

  /// From now on; connections that are open already do not count.
  package static func limit(to count: Int) throws(RPCError) {
    guard caccept_is_used() != 0 else {
      throw RPCError(.internal, "gRPC does not accept connections through this program")
    }
    let error = caccept_set_limit(UInt32(clamping: count))
    guard error == 0 else {
      throw RPCError(
        .resourceExhausted, "cannot limit connections: \(String(cString: strerror(error)))")
    }
  }

  /// Since the start of the process.
  package static var refusals: Refusals {
    let counts = caccept_read_counts()
    var refusals = Refusals()
    refusals.overLimit = Int(clamping: counts.over_limit)
    refusals.withoutDescriptor = Int(clamping: counts.no_descriptor)
    return refusals
  }
}
