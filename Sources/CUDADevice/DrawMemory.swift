// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program
internal import Step
internal import Support

/// Memory for drawing tokens from rows of logits. Confined to the device's thread.
struct DrawMemory {
  /// Rows that are drawn from at random together; more are taken in turn. Each takes 80 KiB.
  static let rowsAtOnceMax = 64

  /// A key for each output (`cu_largest`), and how it is drawn: on the GPU.
  let keys, draws: UInt64
  let drawn: DrawnTokens
  /// How each output is drawn, on its way. The GPU has it when its tokens are there.
  private let hostDraws: MappedMemory
  private let outputs: Int
  private let rowsAtOnce: Int
  /// Of the rows of one launch. The first is zeroed before it: counts of candidates, then buckets.
  private let sums, candidates, cuts, partSums: UInt64

  private static let bucketBytes = Int(cu_buckets) * MemoryLayout<cu_bucket>.stride

  /// For values of the program, in so many rows at most.
  init(_ gpu: GPU, _ program: Program, outputs: Int) throws(CUDAError) {
    let width = program.values.map { $0.kind == .floats ? $0.width : 0 }.max() ?? 0
    self.outputs = max(1, outputs)
    rowsAtOnce = min(self.outputs, Self.rowsAtOnceMax)
    keys = try gpu.allocate(self.outputs * 8)
    draws = try gpu.allocate(Self.words(of: self.outputs) * Self.wordBytes)
    drawn = try DrawnTokens(gpu, rows: self.outputs)
    hostDraws = try gpu.allocateMapped(Self.words(of: self.outputs) * Self.wordBytes)
    sums = try gpu.allocate(Self.countBytes + rowsAtOnce * Self.bucketBytes)
    candidates = try gpu.allocate(rowsAtOnce * Int(cu_candidates_max) * 8)
    cuts = try gpu.allocate(rowsAtOnce * 8)
    partSums = try gpu.allocate(rowsAtOnce * Self.parts(width: width) * 8)
  }

  private static let wordBytes = 16

  /// Of so many draws.
  private static func words(of draws: Int) -> Int {
    (draws * MemoryLayout<cu_draw>.stride + wordBytes - 1) / wordBytes
  }

  private static let countBytes = rowsAtOnceMax * MemoryLayout<UInt32>.stride

  private static func parts(width: Int) -> Int {
    (width + cu_sample_columns - 1) / cu_sample_columns
  }

  /// Begins a draw: brings to the GPU how rows are drawn, if some at random, and zeros.
  func begin(
    _ draws: UnsafeBufferPointer<TokenDraw?>, atRandom: Bool, on gpu: GPU, _ kernels: KernelSet
  ) throws(CUDAError) {
    check(draws.count <= outputs, "\(draws.count) rows are drawn from, more than agreed")
    try drawn.begin(on: gpu)
    if atRandom {
      let places = hostDraws.bytes.bindMemory(to: cu_draw.self)
      for (row, draw) in draws.enumerated() { places[row] = cu_draw(draw) }
    }
    let argument = cu_fetch_draws(
      slot: UnsafeRawPointer(pointer(hostDraws.address, to: UInt8.self)),
      draws: pointer(self.draws), keys: pointer(keys), arrivals: pointer(drawn.arrivals),
      rows: Int32(draws.count), draw_words: atRandom ? Int32(Self.words(of: draws.count)) : 0)
    try gpu.launch(kernels.fetchDraws, x: 1, with: argument)
  }

  /// Queues what makes of each row's largest the column that is drawn, and tells the host. `scores`
  /// are on the GPU, rows `stride` floats apart.
  func queue(
    _ draws: UnsafeBufferPointer<TokenDraw?>, scores: UInt64, stride: Int, width: Int,
    on gpu: GPU, _ kernels: KernelSet
  ) throws(CUDAError) {
    let drawBytes = MemoryLayout<cu_draw>.stride
    for first in Swift.stride(from: 0, to: draws.count, by: rowsAtOnce) {
      let group = draws[first..<min(draws.count, first + rowsAtOnce)]
      let argument = cu_sample(
        scores: UnsafePointer(pointer(scores + UInt64(first * stride * 4))),
        stride: Int64(stride),
        draws: UnsafePointer(pointer(self.draws + UInt64(first * drawBytes))),
        keys: pointer(keys + UInt64(first * 8)), candidate_counts: pointer(sums),
        buckets: pointer(sums + UInt64(Self.countBytes)), candidates: pointer(candidates),
        cuts: pointer(cuts), part_sums: pointer(partSums), width: Int32(width),
        parts: Int32(Self.parts(width: width)),
        drawn: drawn.ending(keys: keys, rows: draws.count, blocks: draws.count))
      try queue(argument, group, on: gpu, kernels)
    }
  }

  private func queue(
    _ argument: cu_sample, _ group: Slice<UnsafeBufferPointer<TokenDraw?>>, on gpu: GPU,
    _ kernels: KernelSet
  ) throws(CUDAError) {
    let (parts, rows) = (Int(argument.parts), group.count)
    let cuts = group.contains { draw in draw.map { !$0.takesLargest && $0.cuts } ?? false }
    if cuts { try gpu.zero(sums, byteCount: Self.countBytes + rows * Self.bucketBytes) }
    if cuts {
      try gpu.launch(kernels.sampleWeigh, x: parts, y: rows, with: argument)
      try gpu.launch(kernels.sampleGather, x: parts, y: rows, with: argument)
      try gpu.launch(kernels.sampleCut, x: rows, with: argument)
    }
    try gpu.launch(kernels.sampleSum, x: parts, y: rows, with: argument)
    try gpu.launch(kernels.samplePick, x: rows, with: argument)
  }
}

extension cu_draw {
  /// nil: nothing is drawn.
  init(_ draw: TokenDraw?) {
    let draw = draw ?? .largest
    self.init(
      top_p: draw.topP, random: draw.random, scale: draw.scale, min_p: draw.minP,
      top_k: draw.topK, is_random: draw.takesLargest ? 0 : 1)
  }
}
