// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels

/// Scores of all experts, the choice of some, and the sorting of what was chosen; see `route.cu`,
/// `choose.cu` and `slots.h`.
struct RouteLaunch {
  /// Blocks that keep a GPU busy with the largest tiles.
  private static let blocksWanted = 96

  private let experts: Int
  private let topK: Int
  private let argument: Launch.Argument
  private let kernels: KernelSet
  private let choice: KernelSet.Choice?

  init(kernels: KernelSet, argument: Launch.Argument, experts: Int, topK: Int) {
    self.kernels = kernels
    self.argument = argument
    self.experts = experts
    self.topK = topK
    choice = kernels.choices.first { experts <= $0.experts }
  }

  /// Which kernels they are changes no bit.
  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    guard let choice else { return }
    let rows = counts.tokens
    let work = ExpertWork(
      rows: rows, topK: topK, experts: experts, hasPrefill: kernels.hasPrefill)
    let op = argument.assumingMemoryBound(to: cu_route.self)
    op.pointee.work_slots = Int32(work.slots)
    op.pointee.work_count = Int32(work.count)
    let scoring = rows <= 2 ? kernels.route1 : isMany(rows) ? kernels.route8 : kernels.route4
    let (x, y) = (scoring.tiles(experts), scoring.tiles(rows))
    if rows <= cu_few_tokens, !counts.areOfOneLaunch, let both = choice.behind[scoring.side] {
      op.pointee.blocks = UInt32(x * y)
      return try gpu.launch(both, x: x, y: y, argument: argument)
    }
    try gpu.launch(scoring.kernel, x: x, y: y, argument: argument)
    let blocks = (rows + cu_mask_rows - 1) / cu_mask_rows
    try gpu.launch(choice.kernel, x: blocks, argument: argument)
    // A single block has sorted them.
    if blocks > 1 { try gpu.launch(kernels.groupExperts, x: blocks, argument: argument) }
  }

  private func isMany(_ rows: Int) -> Bool {
    let tile = kernels.route8
    return tile.tiles(experts) * tile.tiles(rows) >= Self.blocksWanted
  }
}

/// A kernel that scores a tile of `side` experts and as many rows.
struct RouteTile {
  let side: Int
  let kernel: GPU.Kernel

  func tiles(_ count: Int) -> Int { (count + side - 1) / side }
}
