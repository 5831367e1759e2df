// SPDX-License-Identifier: Apache-2.0

extension Operation {
  /// The values that the operation reads (those it changes in place among them).
  package var reads: [ValueID] {
    switch self {
    case .embed: []
    case .rmsNorm(let op): [op.input.value]
    case .linear(let op): [op.input]
    case .headwiseLinear(let op): [op.input.value]
    case .rope(let op): [op.columns.value]
    case .attention(let op): [op.queries.value, op.keys.value, op.values.value]
    case .latentAttention(let op):
      [op.latentQueries.value, op.ropeQueries.value, op.latent.value, op.ropeKey.value]
    case .route(let op): [op.input]
    case .experts(let op): [op.input, op.routing]
    case .swiglu(let op): [op.gate, op.up]
    case .add(let op): [op.left, op.right]
    case .join(let op): [op.left, op.right]
    case .selectOutputs(let op): [op.input]
    }
  }

  /// The values that the operation writes.
  package var writes: [ValueID] {
    switch self {
    case .embed(let op): [op.output]
    case .rmsNorm(let op): [op.output]
    case .linear(let op): [op.output]
    case .headwiseLinear(let op): [op.output]
    case .rope(let op): [op.columns.value]
    case .attention(let op): [op.output] + (op.logSumExp.map { [$0] } ?? [])
    case .latentAttention(let op): [op.output] + (op.logSumExp.map { [$0] } ?? [])
    case .route(let op): [op.output]
    case .experts(let op): [op.output]
    case .swiglu(let op): [op.output]
    case .add(let op): [op.output]
    case .join(let op): [op.output]
    case .selectOutputs(let op): [op.output]
    }
  }

  /// The stored weights that the operation uses.
  package var weights: [Weight] {
    switch self {
    case .embed(let op): [op.table]
    case .rmsNorm(let op): [op.weight]
    case .linear(let op): [op.weight] + (op.bias.map { [$0] } ?? [])
    case .headwiseLinear(let op): [op.weight]
    case .route(let op): [op.weight] + (op.correctionBias.map { [$0] } ?? [])
    case .experts(let op): op.experts.flatMap { [$0.gate, $0.up, $0.down] }
    case .rope, .attention, .latentAttention, .swiglu, .add, .join, .selectOutputs: []
    }
  }
}
