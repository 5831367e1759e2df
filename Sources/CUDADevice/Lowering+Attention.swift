// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
internal import Program
internal import Support

/// Attention over the cache: store, attend to parts of the keys, merge.
extension Lowering {
  mutating func attention(_ op: Attention, at index: Int) throws(CUDAError) {
    var argument = cu_attention()
    argument.key_heads = Int32(op.keys.count)
    argument.heads_per_key = Int32(op.queries.count / op.keys.count)
    argument.key_width = Int32(op.keys.width)
    argument.value_width = Int32(op.values.width)
    argument.cache = cache(at: index)
    argument.scale = op.scale
    let store = store([op.queries], [op.keys, op.values], argument)
    let attend = try attend(argument, output: op.output, logSumExp: op.logSumExp)
    append(store, attend, at: index)
  }

  mutating func latentAttention(_ op: LatentAttention, at index: Int) throws(CUDAError) {
    var argument = cu_attention()
    argument.key_heads = 1
    argument.heads_per_key = Int32(op.latentQueries.count)
    argument.key_width = Int32(op.latent.width + op.ropeKey.width)
    argument.value_width = Int32(op.latent.width)
    argument.cache = cache(at: index)
    argument.scale = op.scale
    let store = store([op.latentQueries, op.ropeQueries], [op.latent, op.ropeKey], argument)
    let attend = try attend(argument, output: op.output, logSumExp: op.logSumExp)
    append(store, attend, at: index)
  }

  private mutating func append(_ store: cu_store, _ attend: AttentionLaunch, at index: Int) {
    attentions[index] = (store, attend)
    list.append(launch(store))
    list.append(.attention(attend))
  }

  func launch(_ store: cu_store) -> Launch {
    .rows(kernels.attention.store, list.keep(store), .tokens, repeated: Int(store.spread))
  }

  /// An attention whose queries and keys are turned where they are stored.
  func fuseTurns(_ operations: Range<Int>) {
    let last = operations.upperBound - 1
    guard let attention = attentions[last], let store = turned(operations) else { return }
    list.fuse(operations, [launch(store), .attention(attention.attend)])
  }

  /// What stores queries and keys of the attention that is the last of some operations, and turns
  /// them as those before it do.
  func turned(_ operations: Range<Int>) -> cu_store? {
    let last = operations.upperBound - 1
    guard var store = attentions[last]?.store else { return nil }
    for case .rope(let op) in program.operations[operations] {
      guard let angles = knownAngles(op.table) else { return nil }
      let turn = turn(op, angles: angles)
      switch program.operations[last] {
      case .attention(let reader):
        if reader.queries == op.columns { store.query_turns.0 = turn }
        if reader.keys == op.columns { store.key_turns.0 = turn }
      case .latentAttention(let reader):
        if reader.ropeQueries == op.columns { store.query_turns.1 = turn }
        if reader.ropeKey == op.columns { store.key_turns.1 = turn }
      default: return nil
      }
    }
    return store
  }

  private mutating func store(
    _ queries: [Columns], _ keys: [Columns], _ op: cu_attention
  ) -> cu_store {
    let parts = (queries + keys).map { columns($0) }
    let places = kernels.attention.packsKeys ? Self.spreadInFP8(parts, op) : Self.spread(parts)
    var argument = cu_store()
    argument.step = stepPointer
    argument.queries.0 = parts[0]
    if queries.count > 1 { argument.queries.1 = parts[1] }
    argument.keys = (parts[queries.count], parts[queries.count + 1])
    argument.query_rows = pointer(scratch.attention(program, capacity, &arena).queries)
    argument.query_stride = Int32(LayerScratch.queryStride(Int(op.key_width)))
    argument.cache = op.cache
    argument.spread = Int32(places.all)
    argument.plain_spread = Int32(places.plain)
    argument.is_aligned = parts.allSatisfy(Self.areByFours) && op.cache.stride % 8 == 0 ? 1 : 0
    return argument
  }

  /// Blocks of a row, all of which store bfloat16, four columns to a thread.
  static func spread(_ parts: [cu_columns]) -> (all: Int, plain: Int) {
    let chunks = parts.reduce(0) { $0 + Int(($1.width + 3) / 4 * $1.count) }
    let blocks = (chunks + cu_threads - 1) / cu_threads
    return (blocks, blocks)
  }

  /// Those for queries and rotary columns, and a warp for all that shares a scale.
  private static func spreadInFP8(
    _ parts: [cu_columns], _ op: cu_attention
  ) -> (all: Int, plain: Int) {
    let isLatent = op.cache.value_bytes == 0
    let plain = spread(isLatent ? [parts[0], parts[1], parts[3]] : [parts[0]]).plain
    let scales =
      isLatent
      ? (Int(op.value_width) + cu_scale_columns - 1) / cu_scale_columns : 2 * Int(op.key_heads)
    let warps = cu_threads / 32
    return (plain + (scales + warps - 1) / warps, plain)
  }

  /// Whether four neighbours of any group can be read at once.
  static func areByFours(_ columns: cu_columns) -> Bool {
    columns.width % 4 == 0 && columns.group % 4 == 0 && columns.stride % 4 == 0
      && UInt(bitPattern: columns.data) % 16 == 0
  }

  private mutating func attend(
    _ template: cu_attention, output: ValueID, logSumExp: ValueID?
  ) throws(CUDAError) -> AttentionLaunch {
    try Self.require(template.key_width, "keys", atMost: cu_key_width_max)
    try Self.require(template.value_width, "values", atMost: cu_value_width_max)
    let set = kernels.attention
    let attend = try set.attend(valueWidth: Int(template.value_width))
    let scratch = scratch.attention(program, capacity, &arena)
    var argument = template
    argument.step = stepPointer
    argument.queries = UnsafePointer(pointer(scratch.queries))
    argument.query_stride = Int32(LayerScratch.queryStride(Int(template.key_width)))
    argument.output = rows(output)
    if let logSumExp {
      argument.log_sum_exp = floats(logSumExp)
      argument.log_stride = stride(logSumExp)
    }
    argument.part_sums = pointer(scratch.sums)
    argument.part_scores = pointer(scratch.scores)
    argument.stages = Int32(set.stages)
    let widths = [Int(template.key_width), Int(template.value_width)]
    argument.is_aligned = widths.allSatisfy { $0 % 8 == 0 } ? 1 : 0
    // What slices of the keys give is merged once more, in floats.
    let areMerged =
      quantizing[output] != nil && logSumExp == nil
      && Int(argument.value_width) % MatrixLayout.span == 0
    if areMerged {
      mergedAsCodes.insert(output)
      argument.codes = codedRows(output)
    }
    return AttentionLaunch(
      attend: attend.token, attendWindow: attend.window, windowHeads: attend.windowHeads,
      merge: set.merge, mergeCodes: areMerged ? set.mergeCodes : nil,
      argument: list.keep(argument), partRoom: scratch.parts)
  }

  private static func require(
    _ width: Int32, _ name: String, atMost bound: Int
  ) throws(CUDAError) {
    guard Int(width) > bound else { return }
    throw CUDAError(
      .unimplemented,
      "the model's \(name) are \(width) wide; the CUDA device takes up to \(bound)")
  }
}
