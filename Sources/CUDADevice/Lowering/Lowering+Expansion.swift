// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// Latent attention whose prompts take the expanded form.
extension Lowering {
  /// What products are told of the rows of a portion: nothing but how many there are.
  mutating func makeExpandedSteps() throws(CUDAError) {
    guard let expansion else { return }
    let words = MemoryLayout<cu_step>.stride / MemoryLayout<UInt32>.size
    let multiple = CUDAExpansion.tokensMultiple
    var values = [Float](repeating: 0, count: expansion.portionTokens / multiple * words)
    for index in 0..<expansion.portionTokens / multiple {
      // `counts` stand first.
      values[index * words] = Float(bitPattern: UInt32((index + 1) * multiple))
    }
    expandedSteps = try loader.constants(values, &arena)
  }

  /// Loads what makes keys of latents, if a group begins at `index`.
  mutating func loadExpansion(at index: Int) throws(CUDAError) {
    guard expansion != nil, let group = latentGroup(at: index) else { return }
    keyMatrices[index] = try loader.headMatrices(group.toKeys, &arena)
  }

  private func latentGroup(at index: Int) -> LatentGroup? {
    program.latentGroup(at: index, readerCounts: program.readerCounts)
  }

  func fuseExpanded(_ operations: Range<Int>) {
    let (first, last) = (operations.lowerBound, operations.upperBound - 1)
    guard let group = latentGroup(at: first), let expansion, let memory = expandedMemory,
      let kernels = kernels.expanded, let toKeys = keyMatrices[first],
      let toLatents = headProducts[first], let toValues = headProducts[last],
      let store = turned(first + 1..<last), let attend = attentions[last - 1]?.attend
    else { return }
    let rows = cu_rows(
      floats: nil, narrow: pointer(memory.rows), stride: Int64(ExpandedShape.rowWidth(group)))
    var values = rows
    values.narrow = rows.narrow.map { $0 + group.headCount * group.plainWidth }
    let latents = cu_gather.of(group, step: stepPointer, cache: cache(at: last - 1), memory)
    list.fuse(
      operations,
      [
        .expanded(
          ExpandedLaunch(
            toLatents: heads(toLatents.argument, toLatents.matrix, .tokens),
            toValues: heads(toValues.argument, toValues.matrix, .tokens), store: launch(store),
            attend: attend, storeQueries: storeQueries(group, turnedBy: store),
            kernels: kernels, gather: kept(latents),
            toKeys: expanding(toKeys, latents, to: rows),
            expandValues: expanding(toValues.matrix, latents, to: values),
            expanded: kept(attention(group, attend, memory, stages: kernels.stages)),
            portionTokens: expansion.portionTokens, steps: expandedSteps))
      ])
  }

  /// A product of all heads with the same latents.
  private func expanding(
    _ matrix: GPUMatrix, _ latents: cu_gather, to rows: cu_rows
  ) -> ProductLaunch {
    var argument = product(matrix)
    argument.input = UnsafeRawPointer(latents.output)
    argument.input_stride = latents.stride
    argument.input_is_aligned = 1
    argument.parts.0.output = rows
    argument.output_matrix = Int64(matrix.layout.rows)
    return heads(argument, matrix, .tokens)
  }

  /// Stores queries as they are, `[plain | rotary]`, where the absorbed form has its own.
  private func storeQueries(_ group: LatentGroup, turnedBy store: cu_store) -> Launch {
    let parts = [columns(group.toLatents.input), columns(group.attention.ropeQueries)]
    var argument = store
    argument.queries = (parts[0], parts[1])
    argument.keys = (cu_columns(), cu_columns())
    argument.query_stride = Int32(LayerScratch.queryStride(group.plainWidth + group.ropeWidth))
    spread(&argument)
    return launch(argument)
  }

  /// Of a portion's keys and values; which portion and chunk is still to be filled in.
  private func attention(
    _ group: LatentGroup, _ absorbed: AttentionLaunch, _ memory: ExpandedMemory, stages: Int
  ) -> cu_expanded {
    var op = absorbed.argument.assumingMemoryBound(to: cu_attention.self).pointee
    let (plain, rope, value) = (group.plainWidth, group.ropeWidth, group.valueWidth)
    op.query_stride = Int32(LayerScratch.queryStride(plain + rope))
    op.cache = cu_cache()
    op.cache.rows = pointer(memory.rows)
    op.cache.stride = Int64(ExpandedShape.rowWidth(group) * 2)
    op.cache.key_bytes = Int32(plain * 2)
    op.cache.value_bytes = Int32(value * 2)
    op.cache.value_place = Int32(group.headCount * plain * 2)
    op.output = rows(group.toValues.output)
    op.part_sums = pointer(memory.sums)
    op.part_scores = pointer(memory.scores)
    op.key_heads = Int32(group.headCount)
    op.heads_per_key = 1
    op.key_width = Int32(plain + rope)
    op.value_width = Int32(value)
    op.parts = Int32(cu_key_parts_all.rawValue)
    op.part_room = 1
    op.stages = Int32(stages)
    op.is_aligned = [plain, rope, value].allSatisfy { $0 % 8 == 0 } ? 1 : 0
    let rotary = UnsafePointer(pointer(memory.latents, to: UInt16.self))
    return cu_expanded(
      attention: op, rotary: rotary.map { $0 + ExpandedShape.rotaryPlace(group) },
      rotary_stride: Int64(ExpandedShape.latentStride(group)), rotary_width: Int32(rope), rows: 0,
      first_key: 0, keys: 0)
  }
}

extension cu_gather {
  /// Which sequence's tokens is still to be filled in.
  fileprivate static func of(
    _ group: LatentGroup, step: UnsafePointer<cu_step>?, cache: cu_cache, _ memory: ExpandedMemory
  ) -> cu_gather {
    let (latent, rope) = (group.latentWidth, group.ropeWidth)
    return cu_gather(
      step: step, cache: cache, output: pointer(memory.latents),
      stride: Int64(ExpandedShape.latentStride(group)), latent: Int32(latent),
      rotary: Int32(rope), rotary_place: Int32(ExpandedShape.rotaryPlace(group)), row: 0,
      first_key: 0, keys: 0, rows: 0, is_aligned: latent % 8 == 0 && rope % 8 == 0 ? 1 : 0)
  }
}
