// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Support

/// A file mapped read-only into memory for as long as this object lives. Safe from any thread.
///
/// Pages are read when first touched and shared between processes. The file must not be made
/// shorter meanwhile: the system ends a process that reads behind the new end.
final class MappedFile: @unchecked Sendable {  // the mapping never changes until deinit
  let path: String
  let bytes: UnsafeRawBufferPointer
  /// When it was last written, in nanoseconds since 1970.
  let modifiedNanoseconds: Int

  init(path: String) throws(CheckpointError) {
    self.path = path
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Self.failure("cannot open", path) }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw Self.failure("cannot examine", path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw CheckpointError("\(path) is not a file")
    }
    let modified = status.st_mtim
    modifiedNanoseconds = Int(modified.tv_sec) * 1_000_000_000 + Int(modified.tv_nsec)
    let count = Int(status.st_size)
    guard count > 0 else {  // an empty file cannot be mapped
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, file, 0)
    guard let address, address != MAP_FAILED else { throw Self.failure("cannot map", path) }
    bytes = UnsafeRawBufferPointer(start: address, count: count)
  }

  deinit {
    guard let address = bytes.baseAddress else { return }
    munmap(UnsafeMutableRawPointer(mutating: address), bytes.count)
  }

  /// Asks the system to read these bytes soon, all at once instead of a page at each first touch.
  func prefetch(_ range: Range<Int>) {
    let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = range.lowerBound / pageSize * pageSize
    guard let address = bytes.baseAddress, start < range.upperBound else { return }
    madvise(
      UnsafeMutableRawPointer(mutating: address + start), range.upperBound - start,
      MADV_WILLNEED)
  }

  /// Whether something lies at that path.
  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  static func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  private static func failure(_ action: String, _ path: String) -> CheckpointError {
    let number = errno
    return CheckpointError(
      "\(action) \(path): \(String(cString: strerror(number)))",
      code: number == ENOENT ? .notFound : .failedPrecondition)
  }
}
