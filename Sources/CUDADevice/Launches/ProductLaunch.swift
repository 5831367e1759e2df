// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// The kernels of one format: `linear_few.cu`, `linear_many.cu` and `prefill.cu`; of fp8a8
/// `linear_coded.cu` in place of the first two.
struct ProductKernels {
  /// Tokens of a block of each kernel for many.
  static let manyTokens = [16, 32, 64]

  let format: cu_format
  let few, gatedFew: GPU.Kernel
  /// Of units of routed experts and of shared ones together; nil where there are none.
  let unitsFew: GPU.Kernel?
  /// As the first two, their blocks norming what they read; nil where there are none, or no room.
  let normedFew, normedGatedFew: GPU.Kernel?
  /// Of few and of many, their blocks making the codes of what they read.
  let coding: CodingKernels
  /// As `manyTokens`.
  let many: [GPU.Kernel]
  /// Likewise of gated units, where such kernels have the grid of those of few; else empty.
  let gatedMany: [GPU.Kernel]
  /// For more tokens than a block of those has; nil where a GPU has no `wgmma`, and of sparse
  /// weights.
  let prefill: GPU.Kernel?
  /// Warps of a block of each of those, at most.
  let manyWarpsMax: [Int]

  init(
    _ gpu: GPU, _ module: GPU.Module, _ format: cu_format, _ name: String
  ) throws(CUDAError) {
    func kernel(
      _ suffix: String, _ sharedBytes: Int32, kind: String = "product"
    ) throws(CUDAError) -> GPU.Kernel {
      try gpu.kernel(
        "\(kind)_\(name)_\(suffix)", of: module, threads: cu_threads,
        sharedBytes: Int(sharedBytes))
    }
    self.format = format
    let warpsMax = Self.manyTokens.map {
      Self.manyWarps(format, tokens: $0, sharedBytesMax: gpu.properties.sharedBytesMax)
    }
    manyWarpsMax = warpsMax
    few = try kernel("few", cu_few_bytes(format, 1))
    gatedFew = try kernel("gated_few", cu_few_bytes(format, 2))
    unitsFew =
      format == cu_format_fp8a8 || cu_has_zeros(format) != 0
      ? nil : try kernel("few", cu_few_bytes(format, 2), kind: "units")
    func normed(_ suffix: String, _ tiles: Int32) throws(CUDAError) -> GPU.Kernel? {
      let bytes = Int(cu_few_bytes(format, tiles)) + cu_normed_rows_bytes
      // Some of it is declared.
      guard format != cu_format_fp8a8, bytes + 1_024 <= gpu.properties.sharedBytesMax else {
        return nil
      }
      return try kernel(suffix, Int32(bytes), kind: "normed")
    }
    normedFew = try normed("few", 1)
    normedGatedFew = try normed("gated_few", 2)
    func many(
      _ choice: Int, kind: String = "product"
    ) throws(CUDAError) -> GPU.Kernel {
      let (tokens, warps) = (Self.manyTokens[choice], warpsMax[choice])
      return try gpu.kernel(
        "\(kind)_\(name)_\(tokens)", of: module, threads: 32 * warps,
        sharedBytes: Int(cu_many_bytes(format, Int32(tokens), Int32(warps))))
    }
    var (all, gated): ([GPU.Kernel], [GPU.Kernel]) = ([], [])
    for (choice, tokens) in Self.manyTokens.enumerated() {
      if format == cu_format_fp8a8 {
        all.append(try kernel("\(tokens)", cu_coded_bytes(Int32(tokens), 1)))
        gated.append(try kernel("gated_\(tokens)", cu_coded_bytes(Int32(tokens), 2)))
      } else {
        all.append(try many(choice))
      }
    }
    (self.many, gatedMany) = (all, gated)
    // Blocks of fp8a8 have one tile each: too many would read more than few rows.
    let codingChoices = format == cu_format_w8a8 ? 0..<2 : 0..<0
    coding = CodingKernels(
      few: cu_takes_codes(format) == 0
        ? nil : try kernel("few", cu_few_bytes(format, 1), kind: "coding"),
      fewRowsMax: Int(cu_made_tokens(format)),
      many: try codingChoices.map { (choice) throws(CUDAError) in
        try many(choice, kind: "coding")
      })
    prefill = format == cu_format_sparse ? nil : try Self.prefill(gpu, module, name)
  }

  /// As many warps as a block of many tokens has registers and shared memory for.
  private static func manyWarps(_ format: cu_format, tokens: Int, sharedBytesMax: Int) -> Int {
    let most = Int(cu_many_warps(format))
    return (ProductShape.warpsMin...most).last {
      Int(cu_many_bytes(format, Int32(tokens), Int32($0))) <= sharedBytesMax
    } ?? ProductShape.warpsMin
  }

  /// One of `prefill.cu`; nil where a GPU has no `wgmma`, which is of compute capability 9.0 and of
  /// no later one.
  static func prefill(
    _ gpu: GPU, _ module: GPU.Module, _ name: String
  ) throws(CUDAError) -> GPU.Kernel? {
    guard gpu.properties.capability == 90 else { return nil }
    return try gpu.kernel(
      "prefill_\(name)", of: module, threads: cu_prefill_threads,
      sharedBytes: cu_prefill_shared_bytes)
  }
}

/// Products of some matrices with all rows, or with the rows that chose each.
struct ProductLaunch {
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
  var prefill: PrefillLaunch?
  /// nil where what is read is not made codes of.
  var floats: FloatInput?

  /// Which kernels they are changes no bit; see `product.h`.
  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let rows = counts.rows(space)
    let op = argument.assumingMemoryBound(to: cu_product.self).pointee
    let work =
      op.order == nil
      ? nil
      : ExpertWork(rows: rows, topK: slotsPerRow, experts: matrices, hasPrefill: prefill != nil)
    let floats = floats.flatMap { $0.isNeeded(rows: rows, counts) ? $0 : nil }
    if let prefill, work?.isOfMany ?? prefill.isFaster(rows: rows, on: gpu) {
      return try prefill.queue(on: gpu, rows: rows, work, argument, of: floats)
    }
    let isFew = (work?.slots ?? rows) <= cu_few_tokens || op.input_is_aligned == 0
    if !isFew && kernels.gatedMany.isEmpty {
      return try queueMany(on: gpu, rows: rows, work, op, of: floats, counts)
    }
    if let floats, let few = floats.few(rows: rows, counts) {
      return try gpu.launch(
        few, x: tiles, z: work?.count ?? matrices, argument: floats.argument)
    }
    try floats?.quantize.queue(on: gpu, counts)
    let choice = choice(work?.slots ?? rows)
    let kernel =
      isFew
      ? isGated ? kernels.gatedFew : kernels.few
      : (isGated ? kernels.gatedMany : kernels.many)[choice]
    let tokens = isFew ? Int(cu_few_tokens) : ProductKernels.manyTokens[choice]
    try gpu.launch(
      kernel, x: tiles, y: work == nil ? Self.parts(rows, tokens) : 1,
      z: work?.count ?? matrices, argument: argument)
  }

  /// The kernel of the fewest tokens that are enough.
  private func choice(_ tokens: Int) -> Int {
    let sizes = ProductKernels.manyTokens
    return sizes.firstIndex { $0 >= tokens } ?? sizes.count - 1
  }

  /// Blocks of many tokens, and the sum of the columns' parts where they share them.
  private func queueMany(
    on gpu: GPU, rows: Int, _ work: ExpertWork?, _ op: cu_product, of floats: FloatInput?,
    _ counts: Launch.Counts
  ) throws(CUDAError) {
    let sizes = ProductKernels.manyTokens
    let choice = choice(work?.slots ?? rows)
    let tokenBlocks = work == nil ? Self.parts(rows, sizes[choice]) : 1
    let copies = work?.count ?? matrices
    let shape = ProductShape.best(
      for: ProductShape.Work(
        tiles: tiles, isGated: isGated, spans: Self.parts(Int(op.inner), cu_span),
        copies: copies * tokenBlocks, tokens: sizes[choice],
        maySplit: work == nil && matrices == 1 && rows <= ProductShape.splitTokensMax),
      slots: slots(of: choice, on: gpu), warpsMax: kernels.manyWarpsMax[choice])
    var (kernel, argument) = (kernels.many[choice], argument)
    if let floats {
      if let coding = floats.many(choice, rows: rows, blocks: shape.blocks) {
        (kernel, argument) = (coding, floats.argument)
      } else {
        try floats.quantize.queue(on: gpu, counts)
      }
    }
    argument.assumingMemoryBound(to: cu_product.self).pointee.splits = Int32(shape.splits)
    let sharedBytes = cu_many_bytes(kernels.format, Int32(sizes[choice]), Int32(shape.warps))
    try gpu.launch(
      kernel.sized(threads: 32 * shape.warps, sharedBytes: Int(sharedBytes)), x: shape.blocks,
      y: tokenBlocks, z: copies * shape.splits, argument: argument)
    if shape.splits == 1 { return }
    try gpu.launch(
      sumParts.sized(threads: 32 * shape.warps, sharedBytes: 0), x: shape.blocks,
      y: Self.parts(rows, 2), z: matrices, argument: argument)
  }

  /// Blocks that the GPU holds: registers and shared memory are enough for two blocks a
  /// multiprocessor, for one of the most tokens.
  private func slots(of choice: Int, on gpu: GPU) -> Int {
    gpu.properties.multiprocessors * (choice == ProductKernels.manyTokens.count - 1 ? 1 : 2)
  }

  private static func parts(_ count: Int, _ size: Int) -> Int { (count + size - 1) / size }
}
