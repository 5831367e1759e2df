// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels

/// Latent attention, and what each head makes of what it attended to. At few rows the blocks of
/// that product merge the parts of the keys themselves (`latent_values.cu`); no bit changes.
struct LatentValuesLaunch {
  var attention: AttentionLaunch
  var product: ProductLaunch
  /// `latent_values_few`, and its argument.
  var together: (kernel: GPU.Kernel, argument: UnsafeMutablePointer<cu_latent_values>)

  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let rows = counts.tokens
    guard rows <= rowsMax, !counts.areOfOneLaunch, attention.mergesAtOnce(rows: rows) else {
      try attention.queue(on: gpu, rows: 0..<rows, counts)
      return try product.queue(on: gpu, counts)
    }
    together.argument.pointee.attention = try attention.queueParts(on: gpu, rows: rows)
    let kernel = together.kernel.sized(
      threads: cu_threads,
      sharedBytes: Int(cu_few_bytes(cu_format_bf16, 1)) + rows * rowBytes)
    try gpu.launch(
      kernel, x: product.tiles, z: product.matrices,
      argument: UnsafeMutableRawPointer(together.argument))
  }

  private var width: Int { Int(together.argument.pointee.attention.value_width) }

  /// Of shared memory.
  private var rowBytes: Int {
    Int(cu_normed_row_bytes(cu_format_bf16, Int32((width + cu_span - 1) / cu_span)))
  }

  /// As many rows as blocks norm of that many columns: each tile of a head reads all of its parts.
  private var rowsMax: Int {
    NormedRows.most(
      columns: width * Int(cu_key_parts_max), tiles: product.tiles * product.matrices,
      rowBytes: rowBytes)
  }
}
