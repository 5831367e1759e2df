// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Program
internal import Step

extension ReferenceDevice {
  func attention(_ op: Attention) {
    let keyWidth = op.keys.count * op.keys.width
    store(op.keys, at: 0, in: op.cache)
    store(op.values, at: keyWidth, in: op.cache)
    let queries = floats(op.queries.value)
    let headsPerKey = op.queries.count / op.keys.count
    attend(
      op.cache, heads: op.queries.count, valueWidth: op.values.width, output: op.output,
      logSumExp: op.logSumExp,
      score: { row, head, cached in
        let q = queries.row(row) + op.queries.offset + head * op.queries.stride
        let k = cached + head / headsPerKey * op.keys.width
        return dot(q, k, count: op.keys.width) * op.scale
      },
      value: { head, cached in cached + keyWidth + head / headsPerKey * op.values.width })
  }

  func latentAttention(_ op: LatentAttention) {
    let latentWidth = op.latent.width
    store(op.latent, at: 0, in: op.cache)
    store(op.ropeKey, at: latentWidth, in: op.cache)
    let latentQueries = floats(op.latentQueries.value)
    let ropeQueries = floats(op.ropeQueries.value)
    attend(
      op.cache, heads: op.latentQueries.count, valueWidth: latentWidth, output: op.output,
      logSumExp: op.logSumExp,
      score: { row, head, cached in
        let latent =
          latentQueries.row(row) + op.latentQueries.offset + head * op.latentQueries.stride
        let rope = ropeQueries.row(row) + op.ropeQueries.offset + head * op.ropeQueries.stride
        return
          (dot(latent, cached, count: latentWidth)
          + dot(rope, cached + latentWidth, count: op.ropeKey.width)) * op.scale
      },
      value: { _, cached in cached })
  }

  /// Writes columns of the step's rows to the cache, for the positions that this device holds.
  private func store(_ columns: Columns, at offset: Int, in id: CacheID) {
    let source = floats(columns.value)
    for sequence in step.sequences {
      for row in sequence.rows {
        guard let cached = cacheRow(sequence, position: step.positions[row], in: id) else {
          continue
        }
        for group in 0..<columns.count {
          (cached + offset + group * columns.width).update(
            from: source.row(row) + columns.offset + group * columns.stride, count: columns.width)
        }
      }
    }
  }

  /// Where the keys and values of a position lie; nil if another context slice holds them.
  private func cacheRow(
    _ sequence: StepSequence, position: Int, in id: CacheID
  ) -> UnsafeMutablePointer<Float>? {
    let (block, offset) = position.quotientAndRemainder(dividingBy: capacity.blockTokens)
    let slice = capacity.contextSlice
    guard block % slice.count == slice.index else { return nil }
    return caches[id.index].row(Int(sequence.blocks[block]) * capacity.blockTokens + offset)
  }

  /// Softmax attention of every row and head over the keys that are held and may be seen.
  private func attend(
    _ id: CacheID, heads: Int, valueWidth: Int, output outputID: ValueID, logSumExp: ValueID?,
    score: (_ row: Int, _ head: Int, _ cached: UnsafePointer<Float>) -> Float,
    value: (_ head: Int, _ cached: UnsafePointer<Float>) -> UnsafePointer<Float>
  ) {
    let output = floats(outputID)
    let logSums = logSumExp.map { floats($0) }
    for sequence in step.sequences {
      for row in sequence.rows {
        let visible = (0...step.positions[row]).compactMap { position in
          cacheRow(sequence, position: position, in: id).map { UnsafePointer($0) }
        }
        for head in 0..<heads {
          let sum = output.row(row) + head * valueWidth
          let logSum = mix(
            visible, into: sum, width: valueWidth, score: { score(row, head, $0) },
            value: { value(head, $0) })
          logSums?.row(row)[head] = logSum
        }
      }
    }
  }

  /// `Σ softmax(score) · value` over cache rows, and the logarithm of the softmax's denominator;
  /// 0 and `-inf` for none.
  private func mix(
    _ visible: [UnsafePointer<Float>], into sum: UnsafeMutablePointer<Float>, width: Int,
    score: (UnsafePointer<Float>) -> Float,
    value: (UnsafePointer<Float>) -> UnsafePointer<Float>
  ) -> Float {
    sum.update(repeating: 0, count: width)
    let weights = scores.row(0)
    var largest = -Float.infinity
    for (index, cached) in visible.enumerated() {
      weights[index] = score(cached)
      largest = max(largest, weights[index])
    }
    guard !visible.isEmpty else { return -.infinity }
    var denominator: Float = 0
    for index in visible.indices {
      weights[index] = expf(weights[index] - largest)
      denominator += weights[index]
    }
    for (index, cached) in visible.enumerated() {
      addMultiple(weights[index] / denominator, of: value(cached), to: sum, count: width)
    }
    return largest + logf(denominator)
  }
}
