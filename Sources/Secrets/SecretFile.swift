// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Support

/// A small file, read whole.
package struct SecretFile: Sendable {
  /// The largest file taken in.
  package static let byteCountMax = 4 << 20

  package let path: String
  package let bytes: [UInt8]
  /// Whether users other than its owner and group may read it.
  package let isReadableByOthers: Bool

  /// Reads a regular file, or what a link or a pipe leads to.
  package init(_ path: String) throws(SecretsError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Self.unreadable(path, errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw Self.unreadable(path, errno) }
    self.path = path
    bytes = try Self.readAll(descriptor, path)
    isReadableByOthers = status.st_mode & S_IROTH != 0
  }

  /// The text of the file, which must be UTF-8.
  package func text() throws(SecretsError) -> String {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw SecretsError(.invalidArgument, "\(path): the file is not UTF-8 text")
    }
    return text
  }

  private static func readAll(_ descriptor: Int32, _ path: String) throws(SecretsError) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw unreadable(path, errno) }
      guard count > 0 else { return bytes }
      bytes += chunk[..<count]
      guard bytes.count <= byteCountMax else {
        throw SecretsError(
          .invalidArgument, "\(path): the file is larger than \(byteCountMax) bytes")
      }
    }
  }

  private static func unreadable(_ path: String, _ error: Int32) -> SecretsError {
    SecretsError(
      error == ENOENT ? .notFound : .permissionDenied,
      "cannot read \(path): \(String(cString: strerror(error)))")
  }
}
