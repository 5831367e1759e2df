// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// What a product reads as codes (`coded_rows.h`) and its writer has left as floats: who reads them
/// makes the codes. Of many rows that is the kernel that arranges them, of few each block of the
/// product; else a kernel in front, `quantize_rows`. No bit changes.
struct FloatInput {
  /// `quantize_rows`
  var quantize: Launch
  /// The product's `cu_prefill`, its input the floats.
  var argument: Launch.Argument
  /// `arrange_floats`
  var arrange: GPU.Kernel
  /// Kernels whose blocks make the codes.
  var coding: CodingKernels
  /// Rows up to which the writer makes the codes in passing.
  var madeRowsMax: Int
  /// Of a matrix, and matrices that a row is multiplied with.
  var columns, tiles, matrices: Int

  /// Whether the codes are still to be made.
  func isNeeded(rows: Int, _ counts: Launch.Counts) -> Bool {
    // As a task of one launch, what makes codes in passing would take registers from all others.
    rows > madeRowsMax || counts.areOfOneLaunch
  }

  /// The kernel of few rows that makes the codes itself, if it is worth it.
  func few(rows: Int, _ counts: Launch.Counts) -> GPU.Kernel? {
    let isFew = rows <= coding.fewRowsMax && !counts.areOfOneLaunch
    return isFew && isWorth(rows: rows, blocks: tiles) ? coding.few : nil
  }

  /// Likewise of a choice of `ProductKernels.manyTokens`, in so many blocks side by side.
  func many(_ choice: Int, rows: Int, blocks: Int) -> GPU.Kernel? {
    let exists = coding.many.indices.contains(choice)
    return exists && isWorth(rows: rows, blocks: blocks) ? coding.many[choice] : nil
  }

  private func isWorth(rows: Int, blocks: Int) -> Bool {
    MadeCodes.areWorth(
      rows: rows, columns: columns, blocks: blocks, tiles: tiles, matrices: matrices)
  }
}

/// Products of few and of many rows whose blocks make the codes of what they read.
struct CodingKernels {
  let few: GPU.Kernel?
  let fewRowsMax: Int
  /// As the first of `ProductKernels.manyTokens`.
  let many: [GPU.Kernel]
}

/// Floats of which codes are made, before it is known which product reads them.
struct FloatSource {
  var floats: UnsafeMutablePointer<Float>?
  /// In elements.
  var stride: Int64
  var quantize: Launch
  var madeRowsMax = 0
}

/// Whether a product's blocks are to make the codes of what they read.
package enum MadeCodes {
  /// What a GPU's second-level cache gives in the time that the kernel in their place and the
  /// border behind it take: some 3 us of an H100's 5.5 TB/s, by arithmetic.
  private static let againBytesMax = 18 << 20
  /// What it gives beside the weights while memory gives those, with 3.06 TB/s: as many bytes
  /// again, times this.
  private static let besideWeights = 0.8

  /// - Parameters:
  ///   - columns: of a row.
  ///   - blocks: of a matrix, each of which reads the rows in floats.
  ///   - tiles: of a matrix.
  ///   - matrices: that a row is multiplied with.
  package static func areWorth(
    rows: Int, columns: Int, blocks: Int, tiles: Int, matrices: Int
  ) -> Bool {
    let weightBytes = columns * cu_tile_rows * tiles * matrices
    return rows * columns * 4 * blocks * matrices
      <= againBytesMax + Int(Double(weightBytes) * besideWeights)
  }
}

extension Lowering {
  /// What is to be made codes of, if a product reads a value as such and who writes it makes none.
  func floatSource(_ value: ValueID, _ layout: MatrixLayout) -> FloatSource? {
    guard cu_takes_codes(layout.format) != 0, !codedInPassing.contains(value),
      let quantize = quantizing[value]
    else { return nil }
    return FloatSource(
      floats: floats(value), stride: stride(value), quantize: quantize,
      madeRowsMax: mergedAsCodes.contains(value) ? AttentionLaunch.cutRowsMax : 0)
  }

  /// - Parameters:
  ///   - kept: the product with codes.
  ///   - tiles: of a matrix.
  ///   - matrices: that a row is multiplied with.
  func floatInput(
    _ source: FloatSource, of kept: cu_prefill, _ layout: MatrixLayout, tiles: Int, matrices: Int
  ) -> FloatInput {
    var kept = kept
    kept.product.input = UnsafeRawPointer(source.floats)
    kept.product.input_stride = source.stride
    kept.product.code = Int32(code.rawValue)
    let own = kernels.product(layout.format).coding
    // Gated units read what norms have coded.
    let coding =
      kept.product.is_gated == 1 ? CodingKernels(few: nil, fewRowsMax: 0, many: []) : own
    return FloatInput(
      quantize: source.quantize, argument: list.keep(kept), arrange: kernels.arrangeFloats,
      coding: coding, madeRowsMax: source.madeRowsMax, columns: layout.columns, tiles: tiles,
      matrices: matrices)
  }
}
