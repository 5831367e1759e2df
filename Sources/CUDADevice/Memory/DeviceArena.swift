// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import Support

/// Memory for what lives as long as the device: pieces that are laid out in a first walk over the
/// program and filled in a second.
struct DeviceArena {
  enum Use: String, CaseIterable {
    case weights
    case cache = "keys and values"
    case buffers
  }

  /// One piece of memory.
  struct Piece {
    /// nil while laying out.
    fileprivate var base: UInt64?
    fileprivate var size = Int.max
    fileprivate(set) var used = 0

    fileprivate mutating func allocate(_ byteCount: Int) -> UInt64 {
      check(used + byteCount <= size, "the second walk needs more memory than the first")
      defer { used += byteCount }
      return (base ?? UInt64(DeviceArena.alignment)) + UInt64(used)
    }
  }

  private static let alignment = 256

  private(set) var weights = Piece()
  /// Weights that the GPU has no memory for.
  private(set) var outside = Piece()
  /// All else.
  private(set) var own = Piece()
  private(set) var bytes: [Use: Int] = [:]
  /// Whether weights are to be brought to their places: not while laying out, nor if another
  /// process has done it.
  let fillsWeights: Bool
  /// Whether weights that are allocated now lie outside.
  var isOutside = false

  /// Lays out: addresses mean nothing.
  init() { fillsWeights = false }

  /// Pieces as large as the first walk used.
  init(
    as layout: DeviceArena, weights: UInt64, outside: UInt64, own: UInt64, fillsWeights: Bool
  ) {
    self.fillsWeights = fillsWeights
    self.weights = Piece(base: weights, size: layout.weights.used)
    self.outside = Piece(base: outside, size: layout.outside.used)
    self.own = Piece(base: own, size: layout.own.used)
  }

  var isLayout: Bool { own.base == nil }

  /// Bytes of the GPU's memory.
  var used: Int { weights.used + own.used }

  mutating func allocate(_ byteCount: Int, for use: Use) -> UInt64 {
    let rounded = max(1, byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    if use == .weights && isOutside { return outside.allocate(rounded) }
    bytes[use, default: 0] += rounded
    return use == .weights ? weights.allocate(rounded) : own.allocate(rounded)
  }
}

/// An address as the kernels' arguments have it.
func pointer<T>(_ address: UInt64, to type: T.Type = T.self) -> UnsafeMutablePointer<T>? {
  UnsafeMutablePointer(bitPattern: UInt(address))
}
