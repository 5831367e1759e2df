// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A lock between processes: a file that one of them holds locked, until it ends however it ends.
package final class ProcessLock: Sendable {
  private let descriptor: Int32

  /// Takes the lock; nil if another process has it.
  ///
  /// - Parameter path: of a file of this user's, which is made if it is missing, and stays.
  package init?(path: String) throws(LocalSocket.Failure) {
    let descriptor = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR)
    guard descriptor >= 0 else {
      let reason = strerror(errno).map { String(cString: $0) } ?? "error \(errno)"
      throw LocalSocket.Failure(
        code: .failedPrecondition, message: "cannot open \(path): \(reason)")
    }
    self.descriptor = descriptor
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_uid == geteuid() else {
      throw LocalSocket.Failure(
        code: .permissionDenied,
        message: "\(path) belongs to user \(status.st_uid); expected \(geteuid())")
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return nil }
  }

  deinit { close(descriptor) }
}
