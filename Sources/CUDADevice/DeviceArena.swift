// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import Support

/// Memory of a GPU for what lives as long as the device: one piece, laid out in a first walk over
/// the program and filled in a second.
struct DeviceArena {
  enum Use: String, CaseIterable {
    case weights
    case cache = "keys and values"
    case buffers
  }

  private static let alignment = 256

  /// nil while laying out.
  private let base: UInt64?
  private let size: Int
  private(set) var used = 0
  private(set) var bytes: [Use: Int] = [:]

  /// Lays out: addresses mean nothing.
  init() {
    base = nil
    size = .max
  }

  /// A piece as large as the first walk used.
  init(base: UInt64, size: Int) {
    self.base = base
    self.size = size
  }

  var isLayout: Bool { base == nil }

  mutating func allocate(_ byteCount: Int, for use: Use) -> UInt64 {
    let rounded = max(1, byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    check(used + rounded <= size, "the second walk needs more memory than the first")
    defer { used += rounded }
    bytes[use, default: 0] += rounded
    return (base ?? UInt64(Self.alignment)) + UInt64(used)
  }
}

/// An address as the kernels' arguments have it.
func pointer<T>(_ address: UInt64, to type: T.Type = T.self) -> UnsafeMutablePointer<T>? {
  UnsafeMutablePointer(bitPattern: UInt(address))
}
