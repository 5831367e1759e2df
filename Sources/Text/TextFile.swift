// SPDX-License-Identifier: Apache-2.0

import Glibc
import Support

/// The small files of a checkpoint that this target reads.
enum TextFile {
  /// `tokenizer.json` of the largest vocabularies takes some 30 MB.
  static let byteCountMax = 128 << 20

  /// The bytes of a file; nil if there is none.
  static func contents(of path: String) throws(TokenizerError) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 && errno == ENOENT { return nil }
    guard descriptor >= 0 else {
      throw TokenizerError(.failedPrecondition, "\(path): cannot be opened: \(errorText())")
    }
    defer { close(descriptor) }
    var information = stat()
    guard fstat(descriptor, &information) == 0, information.st_mode & S_IFMT == S_IFREG else {
      throw TokenizerError(.failedPrecondition, "\(path): is not a file")
    }
    let size = Int(information.st_size)
    guard size <= byteCountMax else {
      throw TokenizerError(
        .failedPrecondition, "\(path): has \(size) bytes; at most \(byteCountMax) are read")
    }
    return try readAll(descriptor, size, path)
  }

  /// The JSON value in a file; nil if there is no file.
  static func json(of path: String) throws(TokenizerError) -> JSON? {
    guard let bytes = try contents(of: path) else { return nil }
    do {
      return try JSON(parsing: bytes)
    } catch {
      throw TokenizerError("\(path): is not JSON: \(error.message)")
    }
  }

  private static func readAll(
    _ descriptor: Int32, _ size: Int, _ path: String
  ) throws(TokenizerError) -> [UInt8] {
    var failure: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      while count < size {
        let got = read(descriptor, buffer.baseAddress.map { $0 + count }, size - count)
        if got < 0 && errno == EINTR { continue }
        if got < 0 { failure = errno }
        if got <= 0 { return }
        count += got
      }
    }
    guard failure == 0 else {
      throw TokenizerError(.failedPrecondition, "\(path): cannot be read: \(errorText(failure))")
    }
    return bytes
  }

  private static func errorText(_ number: Int32 = errno) -> String {
    strerror(number).map { String(cString: $0) } ?? "error \(number)"
  }
}
