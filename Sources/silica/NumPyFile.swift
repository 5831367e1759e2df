// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Writes arrays as NumPy reads them (format version 1.0, numpy.lib.format).
enum NumPyFile {
  /// Writes little-endian 32-bit floats in row-major order.
  static func write(_ values: [Float], shape: [Int], to path: String) throws(CommandError) {
    let dimensions = shape.map(String.init).joined(separator: ", ")
    let tuple = shape.count == 1 ? "(\(dimensions),)" : "(\(dimensions))"
    var header = "{'descr': '<f4', 'fortran_order': False, 'shape': \(tuple), }"
    // Magic, version, length and header fill a multiple of 64 bytes; the header ends in a newline.
    let prefix = 10
    header += String(repeating: " ", count: 63 - (prefix + header.utf8.count) % 64) + "\n"
    let length = UInt16(header.utf8.count)
    let head =
      [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(length & 0xFF), UInt8(length >> 8)]
      + Array(header.utf8)
    guard let file = fopen(path, "wb") else {
      throw CommandError("cannot write \(path): \(String(cString: strerror(errno)))")
    }
    let isWritten =
      head.withUnsafeBytes { fwrite($0.baseAddress, 1, $0.count, file) == $0.count }
      && values.withUnsafeBytes { fwrite($0.baseAddress, 1, $0.count, file) == $0.count }
    guard fclose(file) == 0, isWritten else {
      throw CommandError("cannot write \(path): \(String(cString: strerror(errno)))")
    }
  }
}
