// SPDX-License-Identifier: Apache-2.0

internal import Program

extension CUDATraffic {
  /// Multiplications and additions of a prompt in one step, of which only the last token's logits
  /// are asked for: two for each weight that a token meets, and those of attention. Expanding the
  /// latents of a prompt takes as many as the products of heads that are then left out.
  package func flopsOfPrefill(tokens: Int) -> Int {
    let absorbed = program.operations.reduce(0) { $0 + Self.flops(of: $1, tokens: tokens, program) }
    if tokens < expandedRowsMin { return absorbed }
    return expandedGroups.reduce(absorbed) { flops, group in
      flops - 2 * Self.pairs(tokens) * group.headCount * CUDAExpansion.savedPerPair(group)
    }
  }

  /// Queries and keys that see each other.
  private static func pairs(_ tokens: Int) -> Int { tokens * (tokens + 1) / 2 }

  private static func flops(of operation: Operation, tokens: Int, _ program: Program) -> Int {
    let pairs = pairs(tokens)
    func rows(_ value: ValueID) -> Int { program[value].rows == .tokens ? tokens : 1 }
    switch operation {
    case .linear(let op):
      return 2 * op.weight.elementCount * rows(op.output)
    case .headwiseLinear(let op):
      return 2 * op.weight.elementCount / op.rowsPerHead * op.rows.count * rows(op.output)
    case .attention(let op):
      return 2 * pairs * op.queries.count * (op.keys.width + op.values.width)
    case .latentAttention(let op):
      let width = 2 * op.latent.width + op.ropeKey.width
      return 2 * pairs * op.latentQueries.count * width
    case .route(let op):
      return 2 * op.weight.elementCount * rows(op.output)
    case .experts(let op):
      let weights = op.experts.first.map {
        $0.gate.elementCount + $0.up.elementCount + $0.down.elementCount
      }
      return 2 * (weights ?? 0) * program[op.routing].width * rows(op.output)
    default:
      return 0
    }
  }
}
