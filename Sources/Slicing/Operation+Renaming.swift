// SPDX-License-Identifier: Apache-2.0

package import Program

extension Operation {
  /// The same operation on values and caches of other names.
  package func renamed(
    value: (ValueID) -> ValueID, cache: (CacheID) -> CacheID
  ) -> Operation {
    func columns(_ columns: Columns) -> Columns {
      var renamed = columns
      renamed.value = value(columns.value)
      return renamed
    }
    switch self {
    case .embed(var op):
      op.output = value(op.output)
      return .embed(op)
    case .rmsNorm(var op):
      (op.input, op.output) = (columns(op.input), value(op.output))
      return .rmsNorm(op)
    case .linear(var op):
      (op.input, op.output) = (value(op.input), value(op.output))
      return .linear(op)
    case .headwiseLinear(var op):
      (op.input, op.output) = (columns(op.input), value(op.output))
      return .headwiseLinear(op)
    case .rope(var op):
      op.columns = columns(op.columns)
      return .rope(op)
    case .attention(var op):
      (op.queries, op.keys, op.values) = (
        columns(op.queries), columns(op.keys), columns(op.values)
      )
      (op.cache, op.output) = (cache(op.cache), value(op.output))
      op.logSumExp = op.logSumExp.map(value)
      return .attention(op)
    case .latentAttention(var op):
      (op.latentQueries, op.ropeQueries) = (columns(op.latentQueries), columns(op.ropeQueries))
      (op.latent, op.ropeKey) = (columns(op.latent), columns(op.ropeKey))
      (op.cache, op.output) = (cache(op.cache), value(op.output))
      op.logSumExp = op.logSumExp.map(value)
      return .latentAttention(op)
    case .route(var op):
      (op.input, op.output) = (value(op.input), value(op.output))
      return .route(op)
    case .experts(var op):
      (op.input, op.routing, op.output) = (value(op.input), value(op.routing), value(op.output))
      return .experts(op)
    case .swiglu(var op):
      (op.gate, op.up, op.output) = (value(op.gate), value(op.up), value(op.output))
      return .swiglu(op)
    case .add(var op):
      (op.left, op.right, op.output) = (value(op.left), value(op.right), value(op.output))
      return .add(op)
    case .join(var op):
      (op.left, op.right, op.output) = (value(op.left), value(op.right), value(op.output))
      return .join(op)
    case .selectOutputs(var op):
      (op.input, op.output) = (value(op.input), value(op.output))
      return .selectOutputs(op)
    }
  }

  /// The cache of an attention; nil for every other operation.
  package var cache: CacheID? {
    switch self {
    case .attention(let op): op.cache
    case .latentAttention(let op): op.cache
    default: nil
    }
  }

  /// The heads of an attention and the width of one head's output, in floats; nil for every other
  /// operation.
  package var attentionHeads: (count: Int, width: Int)? {
    switch self {
    case .attention(let op): (op.queries.count, op.values.width)
    case .latentAttention(let op): (op.latentQueries.count, op.latent.width)
    default: nil
    }
  }
}
