// SPDX-License-Identifier: Apache-2.0

package import Program

/// The bytes that a step reads of weights, keys and values: what it takes at least, over the
/// memory's bandwidth.
package struct CUDATraffic: Hashable, Sendable {
  let program: Program
  /// Of each operation, all that it has.
  private let weightBytes: [Int]
  /// Likewise of one token's keys and values.
  private let cacheBytes: [Int]
  /// Latent attentions that prompts from so many tokens on take in the expanded form.
  let expandedGroups: [LatentGroup]
  let expandedRowsMin: Int

  /// Looks at how the weights are stored; loads none of them.
  package init(
    _ program: Program, from source: any WeightSource, precision: CUDAPrecision,
    cachePrecision: CUDACachePrecision = .auto, expansion: CUDAExpansion? = nil
  ) throws(WeightError) {
    self.program = program
    var bytes: [Int] = []
    for operation in program.operations {
      bytes.append(try CUDABudget.bytes(of: operation, source, precision))
    }
    weightBytes = bytes
    cacheBytes = program.operations.map { CacheRow($0, cachePrecision)?.byteCount ?? 0 }
    expandedGroups = expansion == nil ? [] : program.latentGroups
    expandedRowsMin = expansion?.rowsMin ?? CUDAExpansion.rowsMin(of: expandedGroups)
  }

  /// Of one operation, in a step of so many rows that each see `context` keys. Of routed experts,
  /// as many as are hit if every row chooses at random.
  package func bytes(ofOperation index: Int, rows: Int, context: Int) -> Int {
    switch program.operations[index] {
    case .embed(let op):
      return weightBytes[index] / max(1, op.table.rows) * rows
    case .experts(let op):
      let share = Double(program[op.routing].width) / Double(op.experts.count)
      var missed = 1.0
      for _ in 0..<rows { missed *= 1 - share }
      return Int(Double(weightBytes[index]) * (1 - missed))
    case .attention, .latentAttention:
      return rows * context * cacheBytes[index]
    default:
      return weightBytes[index]
    }
  }

  package func bytesPerStep(rows: Int, context: Int) -> Int {
    program.operations.indices.reduce(0) {
      $0 + bytes(ofOperation: $1, rows: rows, context: context)
    }
  }
}
