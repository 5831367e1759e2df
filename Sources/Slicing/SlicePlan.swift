// SPDX-License-Identifier: Apache-2.0

package import Program
internal import Support

/// How a model is spread over executors: ranges of layers, each with its keys in one or more parts.
///
/// Executor `stage * contextSlices + slice` runs slice `slice` of stage `stage`; slice 0 leads.
package struct SlicePlan: Hashable, Sendable {
  /// Layers that run on one leader.
  package struct Stage: Hashable, Sendable {
    package var layers: Range<Int>
    /// The program of those layers, keys in one part.
    package var program: Program
    /// The programs for keys in several parts; nil if the plan has one context slice.
    package var contextSlicing: ContextSlicing?
    package var cost: LayerCost
  }

  package var stages: [Stage]
  package var contextSlices: Int

  package var executorCount: Int { stages.count * contextSlices }

  /// The stage and context slice of an executor.
  package func place(ofExecutor index: Int) -> (stage: Int, contextSlice: Int) {
    (index / contextSlices, index % contextSlices)
  }

  /// What an executor runs.
  package func program(stage: Int, contextSlice: Int) -> Program {
    let stage = stages[stage]
    guard let slicing = stage.contextSlicing else { return stage.program }
    return contextSlice == 0 ? slicing.leader : slicing.follower
  }

  /// Splits a whole model into `stages` ranges of layers, the slowest as fast as can be.
  package init(
    _ program: Program, stages stageCount: Int = 1, contextSlices: Int = 1,
    costModel: CostModel = CostModel()
  ) throws(SlicingError) {
    guard stageCount >= 1, stageCount <= program.layers.count else {
      throw SlicingError(
        .invalidArgument,
        "stages is \(stageCount); expected 1 to \(program.layers.count), the number of layers of "
          + program.name)
    }
    guard (1...Self.contextSlicesMax).contains(contextSlices) else {
      throw SlicingError(
        .invalidArgument,
        "context_slices is \(contextSlices); expected 1 to \(Self.contextSlicesMax)")
    }
    self.contextSlices = contextSlices
    let costs = program.layers.indices.map { costModel.cost(ofLayer: $0, of: program) }
    let ranges = balancedRanges(costs.map(\.bytesReadPerStep), count: stageCount)
    stages = []
    for range in ranges {
      let part = try program.stage(layers: range)
      stages.append(
        Stage(
          layers: range, program: part,
          contextSlicing: contextSlices > 1 ? ContextSlicing(part) : nil,
          cost: costs[range].reduce(LayerCost(), +)))
    }
  }

  /// Context slices, at most.
  package static let contextSlicesMax = 64
}
