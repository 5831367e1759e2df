// SPDX-License-Identifier: Apache-2.0

internal import Program

extension ShapeWeights.Storage {
  /// Codes as calibrated checkpoints have them.
  package static let calibrated = [8, 4].flatMap { bits in
    [128, 64, 32].map { ShapeWeights.Storage.codes(bits: bits, group: $0) }
  }

  package init?(calibrated name: String) {
    guard let found = Self.calibrated.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  /// "int4-128": codes of 4 bits, 128 of which share a scale and a zero.
  package var name: String {
    switch self {
    case .bf16: "bf16"
    case .fp8: "fp8"
    case .twoOfFour: "sparse"
    case .codes(let bits, let group): "int\(bits)-\(group)"
    }
  }
}

extension ShapeWeights {
  /// Words of a row's codes, of its zeros likewise, and scales in 16 bits.
  func calibrated(
    _ weight: Weight, bits: Int, group: Int, _ codes: Buffer, _ scales: Buffer
  ) -> StoredTensor {
    let (rows, groups) = (weight.rows, (weight.columns + group - 1) / group)
    let start = place(of: weight)
    func grid(columns: Int) -> IntegerGrid {
      let words = (columns + 32 / bits - 1) / (32 / bits)
      return IntegerGrid(
        UnsafeRawBufferPointer(rebasing: codes.bytes[start..<start + rows * words * 4]),
        bits: bits, rowStride: words * 8, columnStride: 8, columnsPerWord: 32 / bits)
    }
    let stored = StoredCodes(
      bits: bits, codes: grid(columns: weight.columns), zeros: grid(columns: groups),
      scales: ScaleGrid(
        UnsafeRawBufferPointer(rebasing: scales.bytes[start..<start + rows * groups * 2]),
        type: .float16, rowStride: groups, groupStride: 1), group: group)
    return StoredTensor(weight: weight, codes: stored, owner: Buffers(codes, scales))
  }

  private final class Buffers: Sendable {
    let all: [Buffer]
    init(_ all: Buffer...) { self.all = all }
  }
}
