// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Support

/// Tries an address before C-core does, because C-core says only that it failed, not why.
enum PortProbe {
  /// Throws the system's reason if `address` cannot be listened on.
  static func check(_ address: Address) throws(RPCError) {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE
    var results: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(address.host, String(address.port), &hints, &results)
    guard code == 0 else {
      throw RPCError(
        .invalidArgument, "cannot listen on \(address): \(String(cString: gai_strerror(code)))")
    }
    defer { freeaddrinfo(results) }
    var reason: Int32?
    var next = results
    while let candidate = next {
      let failure = bindFailure(candidate.pointee)
      if failure == 0 || failure == EADDRINUSE { reason = failure }
      if failure == EADDRINUSE { break }
      reason = reason ?? failure
      next = candidate.pointee.ai_next
    }
    guard let reason, reason != 0 else { return }
    throw RPCError(
      reason == EACCES ? .permissionDenied : .unavailable,
      "cannot listen on \(address): \(describe(reason))")
  }

  /// The error number of binding, or 0.
  private static func bindFailure(_ candidate: addrinfo) -> Int32 {
    let descriptor = socket(
      candidate.ai_family, candidate.ai_socktype | Int32(SOCK_CLOEXEC.rawValue),
      candidate.ai_protocol)
    guard descriptor >= 0 else { return errno }
    defer { close(descriptor) }
    var isOn: Int32 = 1
    setsockopt(
      descriptor, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<Int32>.size))
    return bind(descriptor, candidate.ai_addr, candidate.ai_addrlen) == 0 ? 0 : errno
  }

  private static func describe(_ error: Int32) -> String {
    error == EADDRINUSE ? "the port is in use" : String(cString: strerror(error))
  }
}
