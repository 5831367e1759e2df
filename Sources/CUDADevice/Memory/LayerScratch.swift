// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Device
internal import Program

/// Memory between the kernels of one operation, shared by all layers. Allocated at first use, large
/// enough for every layer.
struct LayerScratch {
  /// Of routed experts.
  struct Experts {
    /// `[slots, intermediate]`, what the last product reads: bfloat16, or floats and coded rows.
    var units, unitCodes: UInt64
    /// `[slots, hidden]`
    var parts: UInt64
    /// Slots by expert, and what is done of them together; see `slots.h`.
    var order, work: UInt64
    /// `[rows, experts]`, and the rows that chose each expert.
    var scores, masks: UInt64
  }

  /// Of attention.
  struct Attention {
    /// `[rows, heads]`, of bfloat16.
    var queries: UInt64
    /// What each part of the keys gives.
    var sums, scores: UInt64
    /// Parts of a row's keys, of all rows together, that there is room for.
    var parts: Int
  }

  /// Bytes of the parts of attention, unless one row needs more.
  private static let attentionBytes = 96 << 20
  /// Rows that have parts for all that a row may have; see `AttentionLaunch`.
  private static let cutRows = 64

  /// What products of many tokens take their inputs from.
  static func arranged(
    _ program: Program, _ capacity: DeviceCapacity, _ arena: inout DeviceArena
  ) -> UInt64 {
    var blocks = 0
    func take(_ tokenBlocks: Int, columns: Int) {
      let spans = (columns + MatrixLayout.span - 1) / MatrixLayout.span
      blocks = max(blocks, tokenBlocks * spans)
    }
    for operation in program.operations {
      if case .linear(let op) = operation {
        let isOfTokens = program[op.output].rows == .tokens
        let rows = isOfTokens ? capacity.rowCountMax : capacity.outputCountMax
        take(PrefillLaunch.tokenBlocks(rows), columns: op.weight.columns)
      } else if case .experts(let op) = operation {
        let work = ExpertWork(
          rows: capacity.rowCountMax, topK: program[op.routing].width, experts: op.experts.count,
          hasPrefill: true)
        guard work.isOfMany else { continue }
        take(work.count, columns: max(program[op.input].width, op.intermediateWidth))
      }
    }
    return arena.allocate(blocks * cu_prefill_tokens * MatrixLayout.span * 2, for: .buffers)
  }

  private var experts: Experts?
  private var attention: Attention?

  /// Sums of products whose blocks share the parts of the columns.
  func products(_ program: Program, _ arena: inout DeviceArena) -> UInt64 {
    var tiles = 0
    for operation in program.operations {
      // Three linears may be one product.
      let columns =
        switch operation {
        case .linear(let op): op.weight.rows * cu_product_parts_max
        case .headwiseLinear(let op): program[op.output].width
        default: 0
        }
      tiles = max(tiles, (columns + cu_tile_rows - 1) / cu_tile_rows)
    }
    // A block more: rows are padded to whole blocks.
    let rows = (min(tiles, ProductShape.splitTilesMax) + cu_many_warps_max) * cu_tile_rows
    return arena.allocate(
      cu_product_warps * cu_product_tokens_max * rows * 4, for: .buffers)
  }

  mutating func experts(
    _ program: Program, rows: Int, takesCodes: Bool, _ arena: inout DeviceArena
  ) -> Experts {
    if let experts { return experts }
    var (slots, inner, coded, outer, count, work) = (0, 0, 0, 0, 0, 0)
    for operation in program.operations {
      if case .route(let op) = operation {
        slots = max(slots, op.topK)
        count = max(count, op.weight.rows)
        work = max(work, ExpertWork.countMax(rows: rows, topK: op.topK, experts: op.weight.rows))
      }
      guard case .experts(let op) = operation else { continue }
      let topK = program[op.routing].width
      inner = max(inner, topK * ValuePlaces.padded(op.intermediateWidth))
      coded = max(coded, topK * ValuePlaces.codedRowBytes(op.intermediateWidth))
      outer = max(outer, topK * ValuePlaces.padded(program[op.output].width))
    }
    let masks = (rows + cu_mask_rows - 1) / cu_mask_rows
    let made = Experts(
      units: arena.allocate(rows * inner * (takesCodes ? 4 : 2), for: .buffers),
      unitCodes: takesCodes ? arena.allocate(rows * coded, for: .buffers) : 0,
      parts: arena.allocate(rows * outer * 4, for: .buffers),
      order: arena.allocate(rows * slots * 4, for: .buffers),
      work: arena.allocate(work * MemoryLayout<cu_expert_work>.stride, for: .buffers),
      scores: arena.allocate(rows * count * 4, for: .buffers),
      masks: arena.allocate(masks * count * 4, for: .buffers))
    experts = made
    return made
  }

  mutating func attention(
    _ program: Program, _ capacity: DeviceCapacity, _ arena: inout DeviceArena
  ) -> Attention {
    if let attention { return attention }
    var (heads, floats, queries) = (0, 0, 0)
    func count(_ count: Int, keyWidth: Int, valueWidth: Int) {
      heads = max(heads, count)
      floats = max(floats, count * AttentionShape.padded(valueWidth, cu_value_padding))
      queries = max(queries, count * Self.queryStride(keyWidth))
    }
    for operation in program.operations {
      switch operation {
      case .attention(let op):
        count(op.queries.count, keyWidth: op.keys.width, valueWidth: op.values.width)
      case .latentAttention(let op):
        count(
          op.latentQueries.count, keyWidth: op.latent.width + op.ropeKey.width,
          valueWidth: op.latent.width)
      default: continue
      }
    }
    let rows = capacity.rowCountMax
    let fitting = Self.attentionBytes / max(1, (floats + 2 * heads) * 4)
    let parts = max(cu_key_parts_max, min(fitting, min(rows, Self.cutRows) * cu_key_groups_max))
    let made = Attention(
      queries: arena.allocate(rows * queries * 2, for: .buffers),
      sums: arena.allocate(parts * floats * 4, for: .buffers),
      scores: arena.allocate(parts * heads * 8, for: .buffers), parts: parts)
    attention = made
    return made
  }

  /// Elements from one query to the next, rows of 16 bytes.
  static func queryStride(_ keyWidth: Int) -> Int { AttentionShape.padded(keyWidth, 8) }
}
