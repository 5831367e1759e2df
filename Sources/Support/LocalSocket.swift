// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc

/// Messages between processes of one user on one machine, which may carry file descriptors: a
/// Unix socket in the file system. One thread at a time, but for `shutdown`.
package final class LocalSocket: Sendable {
  package struct Failure: OperatingError {
    package var code: ErrorCode
    package var message: String

    package init(code: ErrorCode, message: String) {
      self.code = code
      self.message = message
    }
  }

  /// What came: bytes, and perhaps a descriptor, which is the receiver's to close.
  package struct Message {
    package var bytes: [UInt8]
    package var descriptor: Int32?
  }

  /// Bytes of a message, at most.
  package static let messageBytesMax = 64 << 10
  private static let waitingMax: Int32 = 16

  private let descriptor: Int32

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  // MARK: Making

  /// Listens at a path, for this user's processes only. A socket that lies there is replaced.
  package static func listening(at path: String) throws(Failure) -> LocalSocket {
    let socket = try make()
    var status = stat()
    if lstat(path, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFSOCK else {
        throw Failure(
          code: .alreadyExists, message: "\(path) exists and is no socket; expected a free path")
      }
      unlink(path)
    }
    // Nobody can connect before it listens, and then only its owner.
    guard try withAddress(path, { bind(socket.descriptor, $0, $1) }) == 0,
      chmod(path, S_IRUSR | S_IWUSR) == 0, listen(socket.descriptor, waitingMax) == 0
    else { throw failure("cannot listen at \(path)", errno) }
    return socket
  }

  /// Connects to who listens at a path; nil if nobody does.
  package static func connected(to path: String) throws(Failure) -> LocalSocket? {
    let socket = try make()
    guard try withAddress(path, { connect(socket.descriptor, $0, $1) }) != 0 else { return socket }
    if errno == ECONNREFUSED || errno == ENOENT { return nil }
    throw failure("cannot connect to \(path)", errno)
  }

  private static func make() throws(Failure) -> LocalSocket {
    let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(AF_UNIX, type, 0)
    guard descriptor >= 0 else { throw failure("cannot make a socket", errno) }
    return LocalSocket(descriptor)
  }

  private static func withAddress(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(Failure) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path) - 1
    guard bytes.count <= room, !bytes.isEmpty else {
      throw Failure(
        code: .invalidArgument,
        message: "the path \(path) has \(bytes.count) bytes; expected 1 to \(room) for a socket")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }

  private static func failure(_ what: String, _ number: Int32) -> Failure {
    let reason = strerror(number).map { String(cString: $0) } ?? "error \(number)"
    return Failure(code: .failedPrecondition, message: "\(what): \(reason)")
  }

  // MARK: Use

  /// The next who connects; nil after `shutdown`.
  package func accept() -> LocalSocket? {
    while true {
      let accepted = Glibc.accept(descriptor, nil, nil)
      if accepted >= 0 {
        _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
        return LocalSocket(accepted)
      }
      guard errno == EINTR || errno == ECONNABORTED else { return nil }
    }
  }

  /// Ends what waits here; any thread.
  package func shutdown() { _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR)) }

  /// After so long without a message, `receive` fails. Nanoseconds.
  package func limitWaiting(to nanoseconds: UInt64) {
    var time = timeval(
      tv_sec: Int(nanoseconds / 1_000_000_000), tv_usec: Int(nanoseconds / 1_000 % 1_000_000))
    setsockopt(
      descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  /// The user and the process at the other end.
  package func peer() throws(Failure) -> (user: UInt32, process: Int32) {
    var peer: (user: UInt32, process: Int32) = (0, 0)
    let code = clinux_get_peer(descriptor, &peer.user, &peer.process)
    guard code == 0 else { throw Self.failure("cannot see who is at the other end", code) }
    return peer
  }

  package func send(_ bytes: [UInt8], descriptor sent: Int32? = nil) throws(Failure) {
    check(bytes.count <= Self.messageBytesMax, "a message of \(bytes.count) bytes")
    let code = bytes.withUnsafeBytes {
      clinux_send_message(descriptor, $0.baseAddress, $0.count, sent ?? -1)
    }
    guard code == 0 else { throw Self.failure("cannot send a message", code) }
  }

  /// The next message; nil if the other end is closed.
  package func receive() throws(Failure) -> Message? {
    var bytes = [UInt8](repeating: 0, count: Self.messageBytesMax)
    var received: Int32 = -1
    let count = bytes.withUnsafeMutableBytes {
      clinux_receive_message(descriptor, $0.baseAddress, $0.count, &received)
    }
    if count == -Int(ECONNRESET) { return nil }
    guard count >= 0 else { throw Self.failure("no message came", Int32(-count)) }
    guard count > 0 else { return nil }
    return Message(bytes: Array(bytes.prefix(count)), descriptor: received < 0 ? nil : received)
  }
}
