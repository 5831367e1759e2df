// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// The kernels of one format: `linear_few.cu` and `linear_many.cu`.
struct ProductKernels {
  /// Tokens of a block of each kernel for many.
  static let manyTokens = [16, 32, 64]

  let few, gatedFew: GPU.Kernel
  /// As `manyTokens`.
  let many: [GPU.Kernel]

  init(
    _ gpu: GPU, _ module: GPU.Module, _ format: cu_format, _ name: String
  ) throws(CUDAError) {
    func kernel(_ suffix: String, _ sharedBytes: Int32) throws(CUDAError) -> GPU.Kernel {
      try gpu.kernel(
        "product_\(name)_\(suffix)", of: module, threads: cu_threads,
        sharedBytes: Int(sharedBytes))
    }
    few = try kernel("few", cu_few_bytes(format, 1))
    gatedFew = try kernel("gated_few", cu_few_bytes(format, 2))
    var many: [GPU.Kernel] = []
    for tokens in Self.manyTokens {
      many.append(try kernel("\(tokens)", cu_many_bytes(format, Int32(tokens))))
    }
    self.many = many
  }
}

/// Products of some matrices with all rows, or with the rows that chose each.
struct ProductLaunch {
  /// Blocks that fill a GPU; fewer share the parts of the columns.
  static let fillingBlocks = 128
  /// Rows for which blocks may share them.
  static let splitRowsMax = cu_product_tokens_max

  var kernels: ProductKernels
  var sumParts: GPU.Kernel
  var argument: Launch.Argument
  var space: RowSpace
  /// Tiles of a matrix with all its parts, or of the gate.
  var tiles: Int
  var isGated: Bool
  var matrices: Int
  /// Experts that a row chooses; 1 without experts.
  var slotsPerRow = 1

  /// Which kernels they are changes no bit; see `product.h`.
  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let rows = counts.rows(space)
    let op = argument.assumingMemoryBound(to: cu_product.self)
    if rows <= cu_few_tokens || op.pointee.input_is_aligned == 0 || hasFew(rows, op.pointee) {
      try gpu.launch(
        isGated ? kernels.gatedFew : kernels.few, x: tiles, y: Self.parts(rows, cu_few_tokens),
        z: matrices, argument: argument)
      return
    }
    let sizes = ProductKernels.manyTokens
    let choice = sizes.firstIndex { $0 >= rows } ?? sizes.count - 1
    let blocks = Self.parts(tiles, isGated ? cu_product_warps / 2 : cu_product_warps)
    let splits = splits(rows, blocks, op.pointee)
    op.pointee.splits = Int32(splits)
    try gpu.launch(
      kernels.many[choice], x: blocks, y: Self.parts(rows, sizes[choice]), z: matrices * splits,
      argument: argument)
    if splits > 1 {
      try gpu.launch(sumParts, x: blocks, y: Self.parts(rows, 2), z: matrices, argument: argument)
    }
  }

  private static func parts(_ count: Int, _ size: Int) -> Int { (count + size - 1) / size }

  /// Whether an expert has few tokens, if all have as many.
  private func hasFew(_ rows: Int, _ op: cu_product) -> Bool {
    op.order != nil && rows * slotsPerRow <= cu_few_tokens * matrices
  }

  private func splits(_ rows: Int, _ blocks: Int, _ op: cu_product) -> Int {
    let spans = Self.parts(Int(op.inner), cu_span)
    guard op.order == nil, rows <= Self.splitRowsMax, spans >= cu_product_warps else { return 1 }
    var splits = 1
    while splits < cu_product_warps, blocks * matrices * splits < Self.fillingBlocks { splits *= 2 }
    return splits
  }
}
