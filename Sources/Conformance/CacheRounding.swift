// SPDX-License-Identifier: Apache-2.0

package import Program

/// What is left of keys and values that a device keeps in FP8, for comparisons with one that does
/// not (`CShims/CUDAKernels/cache_layout.h` has the rules).
extension Operation {
  /// Rounds those columns of a value that are kept as codes.
  ///
  /// - Parameter floats: rows of the value, `width` columns each.
  package func roundCachedColumns(of value: ValueID, width: Int, in floats: inout [Float]) {
    for (columns, scaleColumns) in codedColumns where columns.value == value {
      for row in stride(from: 0, to: floats.count, by: width) {
        for group in 0..<columns.count {
          let first = row + columns.offset + group * columns.stride
          for start in stride(from: first, to: first + columns.width, by: scaleColumns) {
            let end = min(start + scaleColumns, first + columns.width)
            floats.replaceSubrange(start..<end, with: Self.rounded(Array(floats[start..<end])))
          }
        }
      }
    }
  }

  private static let latentScaleColumns = 128

  /// Columns kept as codes, and how many of a group share a scale.
  private var codedColumns: [(columns: Columns, scaleColumns: Int)] {
    switch self {
    case .attention(let op): [(op.keys, op.keys.width), (op.values, op.values.width)]
    case .latentAttention(let op): [(op.latent, Self.latentScaleColumns)]
    default: []
    }
  }

  /// Finite values that share a scale, each to the nearest that a code has; of two as near, to the
  /// even one.
  package static func rounded(_ values: [Float]) -> [Float] {
    let (largestCode, smallestStep): (Float, Float) = (448, 0x1p-9)
    let largest = values.reduce(0) { max($0, abs($1)) }
    var scale: Float = 0x1p-117
    while largest / scale > largestCode { scale *= 2 }
    return values.map { value in
      let ratio = value / scale
      // Four significant bits.
      let step = max(smallestStep, ratio == 0 ? 0 : ratio.binade.magnitude / 8)
      return (ratio / step).rounded(.toNearestOrEven) * step * scale
    }
  }
}
