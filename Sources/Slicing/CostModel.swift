// SPDX-License-Identifier: Apache-2.0

package import Program

/// What a layer costs: decoding is bound by the bytes that are read, so these are its time.
package struct LayerCost: Hashable, Sendable {
  /// Memory for weights.
  package var weightBytes = 0
  /// Memory for one token's keys and values.
  package var cacheBytesPerToken = 0
  /// Bytes of weights and cache read in one decode step, as `CostModel` expects them.
  package var bytesReadPerStep = 0

  package init() {}

  package static func + (left: LayerCost, right: LayerCost) -> LayerCost {
    var sum = left
    sum.weightBytes += right.weightBytes
    sum.cacheBytesPerToken += right.cacheBytesPerToken
    sum.bytesReadPerStep += right.bytesReadPerStep
    return sum
  }
}

/// The decode step that layers are weighed for.
package struct CostModel: Hashable, Sendable {
  /// Bytes that a device keeps of one weight element.
  package var bytesPerWeight = 4.0
  /// Bytes that a device keeps of one cached number.
  package var bytesPerCacheElement = 4.0
  /// Sequences in the step.
  package var batch = 8
  /// Tokens that each of them has in the cache.
  package var contextTokens = 1024

  package init() {}

  /// The cost of one layer. The first layer's includes what comes before it, the last layer's what
  /// follows it.
  package func cost(ofLayer index: Int, of program: Program) -> LayerCost {
    let layer = program.layers[index]
    let start = index == 0 ? 0 : layer.lowerBound
    let end = index == program.layers.count - 1 ? program.operations.count : layer.upperBound
    var cost = LayerCost()
    for operation in program.operations[start..<end] {
      let weights = Double(operation.weights.reduce(0) { $0 + $1.elementCount }) * bytesPerWeight
      cost.weightBytes += Int(weights)
      cost.bytesReadPerStep += Int(weights * readShare(of: operation, in: program))
      if let cache = operation.cache {
        let bytes = Int(Double(program[cache].width) * bytesPerCacheElement)
        cost.cacheBytesPerToken += bytes
        cost.bytesReadPerStep += bytes * batch * contextTokens
      }
    }
    return cost
  }

  /// The share of an operation's weights that the step reads.
  private func readShare(of operation: Operation, in program: Program) -> Double {
    switch operation {
    case .embed(let op):
      return min(1, Double(batch) / Double(max(1, op.table.rows)))
    case .experts(let op):
      // Of E experts, k chosen at random by each of n rows: expected share 1 - (1 - k / E)^n.
      let chosen = Double(program[op.routing].width) / Double(max(1, op.experts.count))
      return 1 - (0..<batch).reduce(1) { missed, _ in missed * (1 - min(1, chosen)) }
    default:
      return 1
    }
  }
}

/// Cuts a list into `count` neighbouring ranges so that the largest sum is as small as can be; of
/// equal choices the one with the smallest sum of squares, then the one with the earliest cuts.
/// `O(n² · count)`.
package func balancedRanges(_ costs: [Int], count: Int) -> [Range<Int>] {
  struct Cut: Comparable {
    var largest: Int
    var squares: Double
    var start: Int

    static func < (left: Cut, right: Cut) -> Bool {
      (left.largest, left.squares) < (right.largest, right.squares)
    }
  }
  let sums = costs.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
  // best[k][end]: the last of k + 1 ranges that cover ..<end.
  var best: [[Cut?]] = []
  for k in 0..<count {
    best.append(
      (0...costs.count).map { end -> Cut? in
        let starts = k == 0 ? 0..<min(1, end) : k..<max(k, end)
        return starts.compactMap { start -> Cut? in
          let sum = sums[end] - sums[start]
          let squared = Double(sum) * Double(sum)
          if k == 0 { return Cut(largest: sum, squares: squared, start: 0) }
          guard let before = best[k - 1][start] else { return nil }
          return Cut(
            largest: max(sum, before.largest), squares: before.squares + squared, start: start)
        }.min()
      })
  }
  var ranges: [Range<Int>] = []
  var end = costs.count
  for k in (0..<count).reversed() {
    guard let cut = best[k][end] else { return [] }
    ranges.append(cut.start..<end)
    end = cut.start
  }
  return ranges.reversed()
}
