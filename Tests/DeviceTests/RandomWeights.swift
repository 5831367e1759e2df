// SPDX-License-Identifier: Apache-2.0

import Program
import TestSupport

/// Weights that are random and the same in every run, stored as any element type.
struct RandomWeights: WeightSource {
  /// How matrices are stored; vectors are always 32-bit floats.
  var type = ElementType.float32
  /// Rows and columns that share a scale, for FP8.
  private static let blockSide = 16

  private final class Storage: @unchecked Sendable {  // written in init only
    let bytes: UnsafeMutableRawBufferPointer

    init(byteCount: Int) { bytes = .allocate(byteCount: byteCount, alignment: 64) }

    deinit { bytes.deallocate() }
  }

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    let type = weight.shape.count == 1 ? .float32 : type
    var random = SeededGenerator(seed: Self.seed(weight.name))
    let storage = Storage(byteCount: weight.elementCount * type.size)
    for index in 0..<weight.elementCount {
      let value = Self.value(of: weight, &random)
      let start = storage.bytes.baseAddress.map { $0 + index * type.size }
      switch type {
      case .float32: start?.storeBytes(of: value.bitPattern, as: UInt32.self)
      case .float16: start?.storeBytes(of: Float16(value).bitPattern, as: UInt16.self)
      case .bfloat16: start?.storeBytes(of: UInt16(value.bitPattern >> 16), as: UInt16.self)
      // Both signs, exponents around that of one.
      case .float8e4m3:
        let magnitude = UInt8.random(in: 0x20...0x4F, using: &random)
        start?.storeBytes(of: value < 0 ? magnitude | 0x80 : magnitude, as: UInt8.self)
      case .panels, .codes: throw WeightError("panels and codes are made of other types")
      }
    }
    return StoredTensor(
      weight: weight, type: type, bytes: UnsafeRawBufferPointer(storage.bytes),
      scales: type == .float8e4m3 ? Self.scales(of: weight, &random) : nil, owner: storage)
  }

  /// Norms around one; matrices that keep the size of what they map.
  private static func value(of weight: Weight, _ random: inout SeededGenerator) -> Float {
    guard weight.shape.count > 1 else { return Float.random(in: 0.7...1.3, using: &random) }
    let bound = 1.7 / Float(weight.columns).squareRoot()
    return Float.random(in: -bound...bound, using: &random)
  }

  private static func scales(
    of weight: Weight, _ random: inout SeededGenerator
  ) -> BlockScales {
    let side = blockSide
    let perRow = (weight.columns + side - 1) / side
    let count = (weight.rows + side - 1) / side * perRow
    let size = 1 / Float(weight.columns).squareRoot()
    return BlockScales(
      blockRows: side, blockColumns: side, blocksPerRow: perRow,
      values: (0..<count).map { _ in size * Float.random(in: 0.5...1.5, using: &random) })
  }

  private static func seed(_ name: String) -> UInt64 {
    name.utf8.reduce(14_695_981_039) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }
}
