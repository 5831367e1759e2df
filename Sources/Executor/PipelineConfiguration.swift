// SPDX-License-Identifier: Apache-2.0

internal import Device
package import Program
package import Slicing
package import Topology

/// What a pipeline is made of.
package struct PipelineConfiguration: Sendable {
  package var plan: SlicePlan
  /// The model's vocabulary, for the size of logits.
  package var vocabularySize: Int
  package var placement: Placement
  package var weights: any WeightSource
  package var devices: DeviceFactory
  package var rowCountMax: Int
  package var outputCountMax: Int
  /// Cache blocks of each context slice.
  package var blockCount: Int
  package var blockTokens: Int
  /// Steps on their way at once, at most.
  package var microBatchCount: Int

  package init(
    plan: SlicePlan, vocabularySize: Int, placement: Placement, weights: any WeightSource,
    devices: @escaping DeviceFactory, rowCountMax: Int, outputCountMax: Int, blockCount: Int,
    blockTokens: Int, microBatchCount: Int
  ) {
    self.plan = plan
    self.vocabularySize = vocabularySize
    self.placement = placement
    self.weights = weights
    self.devices = devices
    self.rowCountMax = rowCountMax
    self.outputCountMax = outputCountMax
    self.blockCount = blockCount
    self.blockTokens = blockTokens
    self.microBatchCount = microBatchCount
  }

  func seat(_ index: Int) -> DeviceSeat {
    let (stage, slice) = plan.place(ofExecutor: index)
    let place = placement.executors[index]
    return DeviceSeat(
      index: index, stage: stage, contextSlice: slice, node: place.node, cpus: place.cpus)
  }

  func capacity(_ seat: DeviceSeat) -> DeviceCapacity {
    DeviceCapacity(
      rowCountMax: rowCountMax, outputCountMax: outputCountMax, blockCount: blockCount,
      blockTokens: blockTokens,
      contextSlice: ContextSlice(index: seat.contextSlice, count: plan.contextSlices),
      stepCountMax: microBatchCount)
  }

  /// Floats of a row that the widest border between stages carries.
  var hiddenWidthMax: Int {
    plan.stages.map { stage in
      if case .hidden(let value) = stage.program.output { stage.program[value].width } else { 0 }
    }.max() ?? 0
  }
}
