// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Support

/// A new file that is written from its beginning. Confined to one thread.
final class OutputFile {
  let path: String
  private let descriptor: Int32
  private var byteCount = 0

  /// Bytes of one `write`: the system's own limit is just below 2 GiB.
  private static let writtenAtOnceMax = 1 << 30

  init(path: String) throws(CheckpointError) {
    self.path = path
    descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Self.failure("cannot create \(path)") }
  }

  deinit { close(descriptor) }

  /// Takes the room on the disk, so that a full one is known before the work is done.
  func reserve(_ byteCount: Int) throws(CheckpointError) {
    errno = posix_fallocate(descriptor, 0, off_t(byteCount))
    guard errno == 0 else { throw Self.failure("cannot make \(path) of \(byteCount) bytes") }
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest.prefix(Self.writtenAtOnceMax))
      let count = Glibc.write(descriptor, part.baseAddress, part.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw Self.failure("cannot write to \(path) after \(byteCount) bytes")
      }
      byteCount += count
      rest = rest.dropFirst(count)
    }
  }

  func write(_ bytes: [UInt8]) throws(CheckpointError) {
    try bytes.withUnsafeBufferPointer { (buffer) throws(CheckpointError) in
      try write(UnsafeRawBufferPointer(buffer))
    }
  }

  /// Writes over what is already there.
  func overwrite(at offset: Int, _ bytes: [UInt8]) throws(CheckpointError) {
    check(offset + bytes.count <= byteCount, "\(offset) is not written yet")
    guard pwrite(descriptor, bytes, bytes.count, off_t(offset)) == bytes.count else {
      throw Self.failure("cannot write to \(path)")
    }
  }

  /// Waits until all is on the disk.
  func synchronize() throws(CheckpointError) {
    guard fsync(descriptor) == 0 else { throw Self.failure("cannot write \(path) to the disk") }
  }

  /// The error of the system call that just failed.
  static func failure(_ action: String) -> CheckpointError {
    let number = errno
    let isFull = number == ENOSPC || number == EDQUOT || number == EFBIG
    return CheckpointError(
      "\(action): \(String(cString: strerror(number)))",
      code: isFull ? .resourceExhausted : number == EEXIST ? .alreadyExists : .failedPrecondition)
  }
}
