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

  /// A latent attention with all that it alone reads, and what reads it. Compressed queries go
  /// where attention reads them; who stores the rest need not wait for them.
  func fuseLatent(_ operations: Range<Int>) {
    let (first, last) = (operations.lowerBound, operations.upperBound - 1)
    guard let norm = norms[first], let queries = headProducts[first + 1],
      let attend = attentions[last - 1]?.attend, var store = turned(first + 2..<last),
      let values = headProducts[last]
    else { return }
    var argument = queries.argument
    argument.parts.0.output = cu_rows(
      floats: nil, narrow: store.query_rows,
      stride: Int64(store.query_stride * store.queries.0.count))
    argument.output_matrix = Int64(store.query_stride)
    store.queries.0.data = nil
    store.keys.0 = norm.input
    store.norm_weight = norm.weight
    store.norm_epsilon = norm.epsilon
    spread(&store)
    let stored = cu_latent(
      product: argument, store: store, heads: Int32(queries.matrix.count), unused: 0)
    let latent = LatentLaunch(
      product: heads(argument, queries.matrix, .tokens), store: launch(store),
      together: (kernels.attention.latentFew, list.keep(stored)), storeBlocks: Int(store.spread))
    let merged = cu_latent_values(
      product: values.argument,
      attention: attend.argument.assumingMemoryBound(to: cu_attention.self).pointee)
    let attended = LatentValuesLaunch(
      attention: attend, product: heads(values.argument, values.matrix, .tokens),
      together: (kernels.attention.latentValuesFew, kept(merged)))
    list.fuse(operations, [.latent(latent), .latentValues(attended)])
  }

  private mutating func store(
    _ queries: [Columns], _ keys: [Columns], _ op: cu_attention
  ) -> cu_store {
    let parts = (queries + keys).map { columns($0) }
    var argument = cu_store()
    argument.step = stepPointer
    argument.queries.0 = parts[0]
    if queries.count > 1 { argument.queries.1 = parts[1] }
    argument.keys = (parts[queries.count], parts[queries.count + 1])
    argument.query_rows = pointer(scratch.attention(program, capacity, &arena).queries)
    argument.query_stride = Int32(LayerScratch.queryStride(Int(op.key_width)))
    argument.cache = op.cache
    spread(&argument)
    return argument
  }

  /// Finds how many blocks share a row, and whether four columns can be taken at once.
  func spread(_ op: inout cu_store) {
    let packs = kernels.attention.packsKeys && op.keys.0.data != nil
    let hasNorm = op.norm_weight != nil
    // In bfloat16, four columns to a thread; a block for keys that have their norm done.
    var plain = [op.queries.0, op.queries.1]
    if !packs && !hasNorm { plain.append(op.keys.0) }
    if !packs || op.cache.value_bytes == 0 { plain.append(op.keys.1) }
    let blocks = Self.blocks(of: plain)
    op.plain_spread = Int32(blocks)
    op.spread = Int32(blocks + (packs ? Self.packingBlocks(op) : hasNorm ? 1 : 0))
    let parts = [op.queries.0, op.queries.1, op.keys.0, op.keys.1]
    op.is_aligned = parts.allSatisfy(Self.areByFours) && op.cache.stride % 8 == 0 ? 1 : 0
  }

  private static func blocks(of parts: [cu_columns]) -> Int {
    let chunks = parts.reduce(0) {
      $1.data == nil ? $0 : $0 + Int(($1.width + 3) / 4 * $1.count)
    }
    return (chunks + cu_threads - 1) / cu_threads
  }

  /// Blocks of a row whose warps have what shares a scale in FP8.
  private static func packingBlocks(_ op: cu_store) -> Int {
    let isLatent = op.cache.value_bytes == 0
    let scales =
      isLatent
      ? (Int(op.keys.0.width) + cu_scale_columns - 1) / cu_scale_columns
      : 2 * Int(op.keys.0.count)
    let warps = cu_threads / 32
    return (scales + warps - 1) / warps
  }

  /// Whether four neighbours of any group can be read at once.
  private static func areByFours(_ columns: cu_columns) -> Bool {
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
