// SPDX-License-Identifier: Apache-2.0

/// A latent attention with what stands around it: queries brought to the latents' space, and what
/// each head makes of the latents that it attended to.
///
/// In its expanded form (DeepSeek-V2 paper, section 2.1.2) all of it is attention whose keys and
/// values are made of the latents: `k_h = [rows of keys · latent | ropeKey]`, `v_h = rows of values
/// · latent`, `output_h = softmax(scale · [plain query_h | ropeQuery_h] · k_h) · v_h`.
package struct LatentGroup: Hashable, Sendable {
  /// From `toLatents` to `toValues`, neighbours.
  package var operations: Range<Int>
  /// Plain queries to latent ones, by a head's rows that make keys.
  package var toLatents: HeadwiseLinear
  /// Of rotary queries and keys.
  package var turns: [Rope]
  package var attention: LatentAttention
  /// What is attended to, to values, by a head's rows that make values.
  package var toValues: HeadwiseLinear

  package var headCount: Int { toLatents.input.count }
  package var latentWidth: Int { attention.latent.width }
  package var plainWidth: Int { toLatents.input.width }
  package var ropeWidth: Int { attention.ropeKey.width }
  package var valueWidth: Int { toValues.rows.count }

  /// What makes a head's keys of latents: the rows of `toLatents` the other way.
  package var toKeys: HeadwiseLinear {
    var op = toLatents
    op.direction = .columnsToRows
    return op
  }
}

extension Program {
  /// The group that begins at `index`; nil unless nobody else reads what is between its operations.
  package func latentGroup(at index: Int, readerCounts: [ValueID: Int]) -> LatentGroup? {
    guard index < operations.count, case .headwiseLinear(let toLatents) = operations[index],
      toLatents.direction == .rowsToColumns
    else { return nil }
    var turns: [Rope] = []
    var next = index + 1
    while next < operations.count, case .rope(let op) = operations[next] {
      turns.append(op)
      next += 1
    }
    guard next + 1 < operations.count, case .latentAttention(let attention) = operations[next],
      case .headwiseLinear(let toValues) = operations[next + 1],
      toValues.direction == .columnsToRows, toValues.weight == toLatents.weight
    else { return nil }
    let heads = toLatents.input.count
    func isAll(_ columns: Columns, of value: ValueID) -> Bool {
      columns
        == Columns(value, width: attention.latent.width, count: heads, stride: columns.width)
    }
    let later = operations[(next + 1)...]
    guard attention.logSumExp == nil,
      isAll(attention.latentQueries, of: toLatents.output),
      isAll(toValues.input, of: attention.output),
      readerCounts[toLatents.output] == 1, readerCounts[attention.output] == 1,
      toLatents.input.value == attention.ropeQueries.value,
      Set(turns.map(\.columns)).count == turns.count,
      turns.allSatisfy({ turn in
        [attention.ropeQueries, attention.ropeKey].contains(turn.columns)
          && !later.contains { $0.reads.contains(turn.columns.value) }
      })
    else { return nil }
    return LatentGroup(
      operations: index..<next + 2, toLatents: toLatents, turns: turns, attention: attention,
      toValues: toValues)
  }

  /// All such groups, in order.
  package var latentGroups: [LatentGroup] {
    let readers = readerCounts
    return operations.indices.compactMap { latentGroup(at: $0, readerCounts: readers) }
  }
}
