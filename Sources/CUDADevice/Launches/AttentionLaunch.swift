// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels

/// Attention of a step's rows. How they are spread over blocks changes no bit; see
/// `attention_order.h`.
struct AttentionLaunch {
  var attend: GPU.Kernel
  /// nil: no tokens are attended to together.
  var attendWindow: GPU.Kernel?
  /// Heads by tokens of a window.
  var windowHeads: Int
  var merge: GPU.Kernel
  /// The same, which makes the output's codes too; nil where a head has no whole spans.
  var mergeCodes: GPU.Kernel?
  /// `cu_attention`
  var argument: Launch.Argument
  /// Room for sums of parts of one row's keys.
  var partRoom: Int

  /// Up to so many rows, the keys of each are cut in parts; more fill a GPU with whole rows.
  static let cutRowsMax = 64
  /// Up to so many blocks side by side, a part is a tile.
  private static let tileBlocksMax = 16
  /// Blocks of a launch, for which keys are cut.
  private static let blocks = 512
  /// A grid has no more layers.
  private static let rowsMax = 32_768

  /// Rows of a step: those of whole sequences.
  func queue(on gpu: GPU, rows: Range<Int>, _ counts: Launch.Counts) throws(CUDAError) {
    let op = argument.assumingMemoryBound(to: cu_attention.self)
    var rowsAtOnce = Self.rowsMax
    if rows.count <= Self.cutRowsMax {
      cut(&op.pointee, rows: rows.count)
      rowsAtOnce = partRoom / Int(op.pointee.part_room)
    } else {
      op.pointee.parts = Int32(cu_key_parts_all.rawValue)
      op.pointee.spread = 1
      op.pointee.window = attendWindow == nil ? 0 : Int32(max(1, windowHeads / headsPerKey))
    }
    // As a task of one launch it would take registers from all others.
    let isMerged = op.pointee.parts != Int32(cu_key_parts_all.rawValue)
    let coding = isMerged && !counts.areOfOneLaunch ? mergeCodes : nil
    for first in stride(from: rows.lowerBound, to: rows.upperBound, by: rowsAtOnce) {
      op.pointee.first_row = Int32(first)
      try queue(
        op.pointee, rows: min(rowsAtOnce, rows.upperBound - first), coding: coding, on: gpu)
    }
  }

  /// Whether the parts of so many rows' keys have room at once, and nothing but their merge is left
  /// to be done.
  func mergesAtOnce(rows: Int) -> Bool {
    var op = argument.assumingMemoryBound(to: cu_attention.self).pointee
    guard rows <= Self.cutRowsMax, mergeCodes == nil, op.log_sum_exp == nil else { return false }
    cut(&op, rows: rows)
    return rows <= partRoom / Int(op.part_room)
  }

  /// Queues all but the merge of parts, for the first rows; returns what that is told.
  func queueParts(on gpu: GPU, rows: Int) throws(CUDAError) -> cu_attention {
    let op = argument.assumingMemoryBound(to: cu_attention.self)
    cut(&op.pointee, rows: rows)
    op.pointee.first_row = 0
    try queueAttend(op.pointee, rows: rows, on: gpu)
    return op.pointee
  }

  private func queueAttend(_ op: cu_attention, rows: Int, on gpu: GPU) throws(CUDAError) {
    try gpu.launch(
      attend, x: Int(op.spread) * tiles(of: cu_tile_heads), y: Int(op.key_heads), z: rows,
      argument: argument)
  }

  /// - Parameter coding: what merges and makes codes, where that is to be done.
  private func queue(
    _ op: cu_attention, rows: Int, coding: GPU.Kernel?, on gpu: GPU
  ) throws(CUDAError) {
    if let attendWindow, op.window > 0 {
      try gpu.launch(
        attendWindow, x: tiles(of: windowHeads), y: Int(op.key_heads), z: rows / Int(op.window),
        argument: argument)
      // Every token is a window.
      if op.window == 1 { return }
    }
    try queueAttend(op, rows: rows, on: gpu)
    if op.parts == Int32(cu_key_parts_all.rawValue) { return }
    let width = AttentionShape.padded(Int(op.value_width), cu_value_padding)
    let columns = coding == nil ? 2 : 4
    let threads = Int(op.key_heads * op.heads_per_key) * width / columns
    try gpu.launch(
      coding ?? merge, x: (threads + cu_threads - 1) / cu_threads, y: rows, argument: argument)
  }

  /// Small parts for few rows, larger ones for more.
  private func cut(_ op: inout cu_attention, rows: Int) {
    let sideBySide = rows * Int(op.key_heads) * tiles(of: cu_tile_heads)
    let isTiles = sideBySide <= Self.tileBlocksMax
    let room = isTiles ? cu_key_parts_max : cu_key_groups_max
    op.parts = Int32((isTiles ? cu_key_parts_tiles : cu_key_parts_groups).rawValue)
    op.part_room = Int32(room)
    op.spread = Int32(max(1, min(room, Self.blocks / max(1, sideBySide))))
    op.window = 0
  }

  private var headsPerKey: Int {
    Int(argument.assumingMemoryBound(to: cu_attention.self).pointee.heads_per_key)
  }

  /// Tiles of the query heads that share a key head.
  private func tiles(of heads: Int) -> Int { (headsPerKey + heads - 1) / heads }
}
