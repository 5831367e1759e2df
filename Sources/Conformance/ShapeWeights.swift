// SPDX-License-Identifier: Apache-2.0

package import Program
internal import Support

/// Random weights of any size: every tensor is some bytes of one buffer, from a place that follows
/// from its name. Matrices are bfloat16, FP8 in blocks of 128 × 128 or calibrated codes, of a size
/// that keeps the size of what they map; vectors are 32-bit floats.
package struct ShapeWeights: WeightSource {
  /// How the matrices of linears and experts are stored.
  package enum Storage: Hashable, Sendable {
    case bf16, fp8
    /// bf16, two of four neighbouring columns zero.
    case twoOfFour
    /// Codes of so many bits, with scales and zeros of so many columns.
    case codes(bits: Int, group: Int)
  }

  final class Buffer: @unchecked Sendable {  // written in init only
    let bytes: UnsafeMutableRawBufferPointer

    init(byteCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) {
      bytes = .allocate(byteCount: byteCount, alignment: 64)
      fill(bytes)
    }

    deinit { bytes.deallocate() }
  }

  /// Places that a tensor may begin at, 64 bytes apart.
  private static let placeCount = 4_096
  private static let blockSide = 128
  /// Two of four elements of 16 bits.
  private static let pairs: [UInt64] = [
    0x0000_0000_FFFF_FFFF, 0x0000_FFFF_0000_FFFF, 0xFFFF_0000_0000_FFFF, 0x0000_FFFF_FFFF_0000,
    0xFFFF_0000_FFFF_0000, 0xFFFF_FFFF_0000_0000,
  ]

  private let matrices: Buffer
  private let codes: Buffer?
  /// Of codes.
  private let scales: Buffer?
  private let storage: Storage
  private let vectors: Buffer
  private let coded: Set<String>
  private let seed: UInt64

  package init(_ program: Program, storage: Storage, seed: UInt64) {
    self.seed = seed
    self.storage = storage
    var coded: Set<String> = []
    if storage != .bf16 && storage != .twoOfFour {
      for case .linear(let op) in program.operations { coded.insert(op.weight.name) }
      for case .experts(let op) in program.operations {
        coded.formUnion(Operation.experts(op).weights.map(\.name))
      }
      for case .embed(let op) in program.operations { coded.remove(op.table.name) }
    }
    self.coded = coded
    func room(_ isIncluded: (Weight) -> Bool, _ size: Int) -> Int {
      let largest = program.weights.filter(isIncluded).map(\.elementCount).max() ?? 0
      return (largest * size + 63) / 64 * 64 + Self.placeCount * 64
    }
    matrices = Buffer(byteCount: room({ $0.shape.count > 1 && !coded.contains($0.name) }, 2)) {
      // Both signs, magnitudes from 2^-7 to 2^-5.
      Self.fill($0, seed) {
        let four = ($0 & 0x80FF_80FF_80FF_80FF) | 0x3C00_3C00_3C00_3C00
        return storage == .twoOfFour ? four & Self.pairs[Int($0 >> 32 % 6)] : four
      }
    }
    vectors = Buffer(byteCount: room({ $0.shape.count == 1 }, 4)) {
      // From 0.5 to 1.
      Self.fill($0, seed ^ 1) { ($0 & 0x007F_FFFF_007F_FFFF) | 0x3F00_0000_3F00_0000 }
    }
    let codeBytes = room({ coded.contains($0.name) }, 1)
    switch storage {
    case .bf16, .twoOfFour: (codes, scales) = (nil, nil)
    case .fp8:
      codes = Buffer(byteCount: codeBytes) {
        // Both signs, magnitudes below 2: half of the exponents, that of subnormal codes and zero
        // among them.
        Self.fill($0, seed ^ 2) { $0 & 0xBFBF_BFBF_BFBF_BFBF }
      }
      scales = nil
    case .codes(let bits, _):
      codes = Buffer(byteCount: codeBytes) { Self.fill($0, seed ^ 2) { $0 } }
      scales = Buffer(byteCount: codeBytes) {
        // Halves from 2^-9 to 2^-8, or from 2^-13 to 2^-12.
        let exponent: UInt64 = bits == 4 ? 0x1800_1800_1800_1800 : 0x0800_0800_0800_0800
        Self.fill($0, seed ^ 3) { $0 & 0x03FF_03FF_03FF_03FF | exponent }
      }
    }
  }

  /// xorshift64*, 8 bytes at a time.
  private static func fill(
    _ bytes: UnsafeMutableRawBufferPointer, _ seed: UInt64, _ shape: (UInt64) -> UInt64
  ) {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    let words = bytes.assumingMemoryBound(to: UInt64.self)
    for index in words.indices {
      state ^= state >> 12
      state ^= state << 25
      state ^= state >> 27
      words[index] = shape(state &* 0x2545_F491_4F6C_DD1D)
    }
  }

  package func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    if weight.shape.count == 1 { return stored(weight, .float32, in: vectors) }
    guard let codes, coded.contains(weight.name) else {
      return stored(weight, .bfloat16, in: matrices)
    }
    if case .codes(let bits, let group) = storage, let scales {
      return calibrated(weight, bits: bits, group: group, codes, scales)
    }
    let perRow = (weight.columns + Self.blockSide - 1) / Self.blockSide
    let count = (weight.rows + Self.blockSide - 1) / Self.blockSide * perRow
    return stored(
      weight, .float8e4m3, in: codes,
      scales: BlockScales(
        blockRows: Self.blockSide, blockColumns: Self.blockSide, blocksPerRow: perRow,
        values: (0..<count).map { 0x1p-6 * (1 + Float($0 % 7) / 8) }))
  }

  private func stored(
    _ weight: Weight, _ type: ElementType, in buffer: Buffer, scales: BlockScales? = nil
  ) -> StoredTensor {
    let start = place(of: weight)
    let end = start + weight.elementCount * type.size
    return StoredTensor(
      weight: weight, type: type,
      bytes: UnsafeRawBufferPointer(rebasing: buffer.bytes[start..<end]),
      scales: scales, owner: buffer)
  }

  /// Where its bytes begin in a buffer.
  func place(of weight: Weight) -> Int {
    let hash = weight.name.utf8.reduce(seed ^ 0xCBF2_9CE4_8422_2325) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01B3
    }
    return Int(hash >> 32 % UInt64(Self.placeCount)) * 64
  }
}
