// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// A product and the norm of its input, which nothing else reads. At few rows the product's blocks
/// norm the rows themselves (`few_norm.h`), at more the norm has a kernel of its own; no bit
/// changes.
struct NormedLaunch {
  /// `rms_norm`, and its argument.
  private let norm: (kernel: GPU.Kernel, argument: Launch.Argument)
  private let product: ProductLaunch
  /// `normed_…_few`, and its argument.
  private let fused: (kernel: GPU.Kernel, argument: Launch.Argument)
  /// Of shared memory: what there is without rows, and of one.
  private let codeBytes, rowBytes: Int
  /// Rows that blocks norm themselves, at most.
  private let rowsMax: Int

  /// Nil where no row is worth it.
  init?(
    norm: (kernel: GPU.Kernel, argument: Launch.Argument), _ product: ProductLaunch,
    fused: (kernel: GPU.Kernel, argument: Launch.Argument), columns: Int
  ) {
    (self.norm, self.product, self.fused) = (norm, product, fused)
    let format = product.kernels.format
    let spans = (columns + MatrixLayout.span - 1) / MatrixLayout.span
    codeBytes = Int(cu_few_bytes(format, product.isGated ? 2 : 1))
    rowBytes = Int(cu_normed_row_bytes(format, Int32(spans)))
    rowsMax = NormedRows.most(columns: columns, tiles: product.tiles, rowBytes: rowBytes)
    guard rowsMax > 0 else { return nil }
  }

  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let rows = counts.rows(product.space)
    if rows == 0 { return }
    guard rows <= rowsMax, !counts.areOfOneLaunch else {
      try gpu.launch(norm.kernel, x: rows, argument: norm.argument)
      return try product.queue(on: gpu, counts)
    }
    let kernel = fused.kernel.sized(
      threads: cu_threads, sharedBytes: codeBytes + rows * rowBytes)
    try gpu.launch(kernel, x: product.tiles, argument: fused.argument)
  }
}

/// How many rows a product's blocks norm themselves.
package enum NormedRows {
  /// What a GPU's second-level cache gives in the time that the norm's kernel and the border behind
  /// it take: some 3 us of an H100's 5.5 TB/s, by arithmetic.
  private static let againBytesMax = 18 << 20

  /// - Parameters:
  ///   - tiles: blocks, each of which reads the rows in floats.
  ///   - rowBytes: shared memory for one.
  package static func most(columns: Int, tiles: Int, rowBytes: Int) -> Int {
    min(cu_few_tokens, cu_normed_rows_bytes / rowBytes, againBytesMax / (columns * 4 * tiles))
  }
}

extension Lowering {
  /// A product behind the norm that is the operation of this number; nil where they are better
  /// apart. All blocks read the norm's weights, so these must be in the GPU's own memory.
  func normed(
    _ launch: ProductLaunch, behind index: Int, _ argument: cu_product
  ) -> NormedLaunch? {
    guard let norm = norms[index], !outside.contains(index),
      let kernel = launch.isGated ? launch.kernels.normedGatedFew : launch.kernels.normedFew
    else { return nil }
    let fused = cu_normed_product(product: argument, norm: norm)
    return NormedLaunch(
      norm: (kernels.rmsNorm, list.keep(norm)), launch, fused: (kernel, list.keep(fused)),
      columns: Int(norm.input.width))
  }
}
