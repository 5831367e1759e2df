// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels

/// A product of many rows with one matrix, or with those of experts or heads: `argument` is a
/// `cu_prefill`.
struct PrefillLaunch {
  /// nil of heads, whose blocks do it themselves.
  var arrange: GPU.Kernel?
  var product: GPU.Kernel
  /// Spans of the matrix's columns, and blocks of its rows.
  var spans: Int
  var rowBlocks: Int
  /// Matrices that each row is multiplied with.
  var heads = 1

  /// - Parameter floats: what codes are still to be made of.
  func queue(
    on gpu: GPU, rows: Int, _ work: ExpertWork?, _ argument: Launch.Argument, of floats: FloatInput?
  ) throws(CUDAError) {
    let tokenBlocks = work?.count ?? Self.tokenBlocks(rows) * heads
    argument.assumingMemoryBound(to: cu_prefill.self).pointee.work_count = Int32(tokenBlocks)
    if let arrange = floats?.arrange ?? arrange {
      try gpu.launch(
        arrange, x: spans, y: tokenBlocks, argument: floats?.argument ?? argument)
    }
    // A block takes all of a multiprocessor.
    try gpu.launch(
      product, x: min(gpu.properties.multiprocessors, rowBlocks * tokenBlocks), argument: argument)
  }

  /// Rows from which on its blocks, which multiply as if they had all their tokens, are faster than
  /// others if there is one for each multiprocessor. Of steps of Qwen-7B in FP8 on an H100, a layer
  /// of 64 rows takes 0.42 ms for 0.52, of 32 rows 0.23 for 0.21.
  private static let batchRowsMin = 33

  /// Whether it is to be used for so many rows; it changes no bit.
  ///
  /// Other kernels have a block for 64 rows of a head, which takes not much less long than one of
  /// 128: as long as all of them are on the GPU at once, nothing is faster. (By arithmetic, not
  /// measured.)
  func isFaster(rows: Int, on gpu: GPU) -> Bool {
    let multiprocessors = gpu.properties.multiprocessors
    if heads > 1 {
      let others = heads * rowBlocks * ((rows + cu_product_tokens_max - 1) / cu_product_tokens_max)
      return rows > cu_product_tokens_max && others > multiprocessors
    }
    return rows > cu_product_tokens_max
      || (rows >= Self.batchRowsMin && rowBlocks >= multiprocessors)
  }

  static func tokenBlocks(_ rows: Int) -> Int {
    (rows + cu_prefill_tokens - 1) / cu_prefill_tokens
  }
}
