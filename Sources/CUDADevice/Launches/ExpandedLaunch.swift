// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Support

/// The kernels of `attention_expanded.cu`.
struct ExpandedKernels {
  let gather, attend: GPU.Kernel
  /// Tiles of keys in a block's shared memory.
  let stages: Int

  /// nil without a shape.
  ///
  /// - Parameter packsKeys: whether the cache is in FP8.
  init?(
    _ gpu: GPU, _ module: GPU.Module, _ shape: ExpandedShape?, packsKeys: Bool
  ) throws(CUDAError) {
    guard let shape = shape?.attention else { return nil }
    let most = gpu.properties.sharedBytesMax
    let rows = cu_window_heads_few
    let fitting = [2, 1].first {
      shape.fitsWindow(queryRows: rows, stages: $0, sharedBytesMax: most)
    }
    guard let fitting else {
      throw CUDAError(
        .unimplemented,
        "--mla-prefill expanded with keys of \(shape.keyWidth) columns takes "
          + "\(shape.bytes(queryRows: rows, stages: 1)) bytes of shared memory; expected at most "
          + "\(most), what the GPU has, or --mla-prefill absorbed")
    }
    stages = fitting
    gather = try gpu.kernel(
      packsKeys ? "gather_latents_fp8" : "gather_latents", of: module, threads: cu_threads)
    attend = try gpu.kernel(
      "attend_expanded", of: module, threads: cu_threads,
      sharedBytes: shape.bytes(queryRows: rows, stages: fitting))
  }
}

/// A latent attention and what stands around it: chunks of prompts in the expanded form, all other
/// rows in the absorbed one. Which rows these are is known when it is queued, so it is part of no
/// graph unless there are no such chunks.
struct ExpandedLaunch {
  /// The absorbed form: queries to latents, storing of queries and keys, attention, values.
  var toLatents, toValues: ProductLaunch
  var store: Launch
  var attend: AttentionLaunch

  /// The expanded form: queries as they are, latents of a portion, keys and values of these.
  var storeQueries: Launch
  var kernels: ExpandedKernels
  var gather: UnsafeMutablePointer<cu_gather>
  var toKeys, expandValues: ProductLaunch
  var expanded: UnsafeMutablePointer<cu_expanded>
  var portionTokens: Int
  /// See `Lowering.expandedSteps`.
  var steps: UInt64

  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    try queueAbsorbed(on: gpu, counts)
    if counts.chunks.isEmpty { return }
    // The queries of the other form have been read, and lie where these go.
    try storeQueries.queue(on: gpu, counts)
    for chunk in counts.chunks { try queue(chunk, on: gpu) }
  }

  // MARK: Absorbed

  private func queueAbsorbed(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let gaps = Self.gaps(between: counts.chunks, of: counts.tokens)
    let end = gaps.last?.upperBound ?? 0
    // Where prompts are last, as schedulers have them, their rows are not multiplied for nothing.
    let products = rounded(end, of: counts)
    if end > 0 { try queue(toLatents, on: gpu, rows: products, of: counts) }
    // Keys of all rows.
    try store.queue(on: gpu, counts)
    for gap in gaps { try attend.queue(on: gpu, rows: gap, counts) }
    if end > 0 { try queue(toValues, on: gpu, rows: products, of: counts) }
  }

  /// Rows that are part of no chunk.
  private static func gaps(between chunks: [Launch.Chunk], of rows: Int) -> [Range<Int>] {
    var gaps: [Range<Int>] = []
    var first = 0
    for chunk in chunks {
      gaps.append(first..<chunk.rows.lowerBound)
      first = chunk.rows.upperBound
    }
    return (gaps + [first..<rows]).filter { !$0.isEmpty }
  }

  /// A number of rows that there is a step of, or all.
  private func rounded(_ rows: Int, of counts: Launch.Counts) -> Int {
    let rounded = Self.rounded(rows)
    return rounded < counts.tokens && rounded <= portionTokens ? rounded : counts.tokens
  }

  private static func rounded(_ rows: Int) -> Int {
    AttentionShape.padded(rows, CUDAExpansion.tokensMultiple)
  }

  /// The first rows of a step.
  private func queue(
    _ product: ProductLaunch, on gpu: GPU, rows: Int, of counts: Launch.Counts
  ) throws(CUDAError) {
    let argument = product.argument.assumingMemoryBound(to: cu_product.self)
    let step = argument.pointee.step
    if rows < counts.tokens { argument.pointee.step = self.step(of: rows) }
    try product.queue(on: gpu, Launch.Counts(tokens: rows, outputs: counts.outputs))
    argument.pointee.step = step
  }

  private func step(of rows: Int) -> UnsafePointer<cu_step>? {
    let index = rows / CUDAExpansion.tokensMultiple - 1
    return UnsafePointer(pointer(steps + UInt64(index * MemoryLayout<cu_step>.stride)))
  }

  // MARK: Expanded

  private func queue(_ chunk: Launch.Chunk, on gpu: GPU) throws(CUDAError) {
    let end = chunk.firstPosition + chunk.rows.count
    let heads = Int(expanded.pointee.attention.key_heads)
    gather.pointee.row = Int32(chunk.rows.lowerBound)
    expanded.pointee.attention.first_row = Int32(chunk.rows.lowerBound)
    expanded.pointee.rows = Int32(chunk.rows.count)
    for first in stride(from: 0, to: end, by: portionTokens) {
      let tokens = min(portionTokens, end - first)
      try expand(first..<first + tokens, on: gpu)
      expanded.pointee.first_key = Int32(first)
      expanded.pointee.keys = Int32(tokens)
      try gpu.launch(
        kernels.attend, x: heads,
        y: (chunk.rows.count + cu_window_heads_few - 1) / cu_window_heads_few,
        argument: UnsafeMutableRawPointer(expanded))
    }
  }

  /// Keys and values of a portion's tokens.
  private func expand(_ tokens: Range<Int>, on gpu: GPU) throws(CUDAError) {
    let rows = Self.rounded(tokens.count)
    gather.pointee.first_key = Int32(tokens.lowerBound)
    gather.pointee.keys = Int32(tokens.count)
    gather.pointee.rows = Int32(rows)
    let pieces = rows * Int(gather.pointee.stride) / 8
    try gpu.launch(
      kernels.gather, x: (pieces + cu_threads - 1) / cu_threads,
      argument: UnsafeMutableRawPointer(gather))
    for product in [toKeys, expandValues] {
      product.argument.assumingMemoryBound(to: cu_product.self).pointee.step = step(of: rows)
      try product.queue(on: gpu, Launch.Counts(tokens: rows, outputs: 0))
    }
  }
}
