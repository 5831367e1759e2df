// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
internal import Program
internal import Support

/// Attention over the cache: store, attend to parts of the keys, merge.
extension Lowering {
  mutating func attention(_ op: Attention) throws(CUDAError) {
    store(op.keys, op.values, in: op.cache)
    var argument = cu_attention()
    argument.first = columns(op.queries)
    argument.second = argument.first
    argument.second.width = 0
    argument.key_heads = Int32(op.keys.count)
    argument.heads_per_key = Int32(op.queries.count / op.keys.count)
    argument.key_width = Int32(op.keys.width)
    argument.value_width = Int32(op.values.width)
    argument.value_offset = Int32(op.keys.count * op.keys.width)
    argument.scale = op.scale
    try attend(argument, op.cache, output: op.output, logSumExp: op.logSumExp)
  }

  mutating func latentAttention(_ op: LatentAttention) throws(CUDAError) {
    store(op.latent, op.ropeKey, in: op.cache)
    var argument = cu_attention()
    argument.first = columns(op.latentQueries)
    argument.second = columns(op.ropeQueries)
    argument.key_heads = 1
    argument.heads_per_key = Int32(op.latentQueries.count)
    argument.key_width = Int32(op.latent.width + op.ropeKey.width)
    argument.value_width = Int32(op.latent.width)
    argument.scale = op.scale
    try attend(argument, op.cache, output: op.output, logSumExp: op.logSumExp)
  }

  private func store(_ first: Columns, _ second: Columns, in id: CacheID) {
    let argument = cu_store(
      step: stepPointer, first: columns(first), second: columns(second), cache: pointer(cache(id)),
      cache_stride: Int64(program[id].width))
    list.append(.rows(kernels.store, list.keep(argument), .tokens))
  }

  private mutating func attend(
    _ template: cu_attention, _ id: CacheID, output: ValueID, logSumExp: ValueID?
  ) throws(CUDAError) {
    try Self.require(template.key_width, "keys", atMost: cu_key_width_max)
    try Self.require(template.value_width, "values", atMost: cu_value_width_max)
    let heads = Int(template.key_heads * template.heads_per_key)
    let parts = scratch.attention(program, rows: capacity.rowCountMax, &arena)
    var argument = template
    argument.step = stepPointer
    argument.cache = UnsafePointer(pointer(cache(id)))
    argument.cache_stride = Int64(program[id].width)
    argument.parts = pointer(parts.sums)
    argument.part_scores = pointer(parts.scores)
    var merge = cu_merge()
    merge.step = stepPointer
    merge.parts = UnsafePointer(pointer(parts.sums))
    merge.part_scores = UnsafePointer(pointer(parts.scores))
    merge.output = rows(output)
    if let logSumExp {
      merge.log_sum_exp = floats(logSumExp)
      merge.log_stride = stride(logSumExp)
    }
    merge.heads = Int32(heads)
    merge.value_width = template.value_width
    list.append(
      .attention(
        AttentionLaunch(
          attend: kernels.attend, attendArgument: list.keep(argument), merge: kernels.merge,
          mergeArgument: list.keep(merge), heads: heads, keyHeads: Int(template.key_heads),
          rowsAtOnce: parts.rows)))
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
