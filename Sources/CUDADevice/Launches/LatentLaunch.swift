// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels

/// What absorbed latent attention reads of a step's rows: compressed queries, a product of heads,
/// and all else, which is stored. Neither needs the other, so at few rows they are one kernel
/// (`latent.cu`); no bit changes.
struct LatentLaunch {
  var product: ProductLaunch
  var store: Launch
  /// `latent_few`, and its argument.
  var together: (kernel: GPU.Kernel, argument: Launch.Argument)
  /// Blocks of a row that store.
  var storeBlocks: Int

  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let rows = counts.tokens
    guard rows <= cu_few_tokens, !counts.areOfOneLaunch else {
      try product.queue(on: gpu, counts)
      return try store.queue(on: gpu, counts)
    }
    let layers = (rows * storeBlocks + product.tiles - 1) / product.tiles
    try gpu.launch(
      together.kernel, x: product.tiles, z: product.matrices + layers,
      argument: together.argument)
  }
}
