// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// A little-endian f32 array in NumPy's file format, version 1.0.
package struct NumPyArray {
  package var shape: [Int]
  package var values: [Float]

  package struct Malformed: Error {
    package let path: String
  }

  package init(contentsOfFile path: String) throws {
    guard let array = Self(try Data(contentsOf: URL(filePath: path))) else {
      throw Malformed(path: path)
    }
    self = array
  }

  package init?(_ file: Data) {
    let magic: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0]
    guard file.count > 10, Array(file.prefix(8)) == magic else { return nil }
    let start = 10 + Int(file[8]) + Int(file[9]) << 8
    guard start % 64 == 0, start <= file.count,
      let header = String(data: file[10..<start], encoding: .utf8),
      header.contains("'descr': '<f4'"), header.contains("'fortran_order': False"),
      let match = header.firstMatch(of: /'shape': \(([0-9, ]*)\)/)
    else { return nil }
    shape = match.1.split(separator: ",").compactMap { Int($0.filter(\.isNumber)) }
    values = file[start...].withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
    }
    guard values.count == shape.reduce(1, *) else { return nil }
  }
}
