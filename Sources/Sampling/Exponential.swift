// SPDX-License-Identifier: Apache-2.0

/// e^x for sums over a vocabulary.
///
/// Only additions, multiplications and bit operations of single precision, each rounded by itself:
/// every machine gives the same bits, GPUs too (`sample.cu`), so a seed gives the same tokens
/// everywhere.
enum Exponential {
  typealias Lanes = SIMD16<Float>

  /// Adding 1.5 * 2^23 rounds to a whole number, which stands in the low bits of the sum.
  static let magic: Float = 12_582_912
  static let magicBits = Int32(bitPattern: magic.bitPattern)

  /// Sixteen values from `index` on; past `end` minus infinity.
  @inline(__always)
  static func load(_ values: UnsafeBufferPointer<Float>, _ index: Int, _ end: Int) -> Lanes {
    if index + Lanes.scalarCount <= end, let base = values.baseAddress {
      return UnsafeRawPointer(base + index).loadUnaligned(as: Lanes.self)
    }
    var lanes = Lanes(repeating: -.infinity)
    for lane in 0..<end - index { lanes[lane] = values[index + lane] }
    return lanes
  }

  /// Writes them from `index` on, none past `end`.
  @inline(__always)
  static func store(
    _ lanes: Lanes, to values: UnsafeMutableBufferPointer<Float>, _ index: Int, _ end: Int
  ) {
    if index + Lanes.scalarCount <= end, let base = values.baseAddress {
      return UnsafeMutableRawPointer(base + index).storeBytes(of: lanes, as: Lanes.self)
    }
    for lane in 0..<end - index { values[index + lane] = lanes[lane] }
  }

  /// e^x for x from minus infinity to 0, to about 1e-7 of the value; 0 below -87.
  ///
  /// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 6, 2^n by the
  /// exponent's bits.
  @inline(__always)
  static func exp(_ x: Lanes) -> Lanes {
    let isTiny = x .< -87
    let x = x.replacing(with: -87, where: isTiny)
    let shifted = x * 1.442_695_04 + magic
    let n = shifted - magic
    let r = (x - n * 0.693_359_375) + n * 2.121_944_4e-4
    var p = r * 1.388_888_9e-3 + 8.333_333_3e-3
    p = p * r + 4.166_666_8e-2
    p = p * r + 0.166_666_67
    p = p * r + 0.5
    p = p * r + 1
    p = p * r + 1
    let exponent = unsafeBitCast(shifted, to: SIMD16<Int32>.self) &- magicBits
    let power = unsafeBitCast((exponent &+ 127) &<< 23, to: Lanes.self)
    return (p * power).replacing(with: 0, where: isTiny)
  }
}
