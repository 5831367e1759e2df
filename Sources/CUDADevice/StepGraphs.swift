// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver

/// Whole steps as graphs, one for each bucket of rows, made at the first step that needs it: a step
/// then costs the host one call and not one for each kernel. Kernels look at the step's own counts,
/// so blocks for rows that are not there end at once. Confined to the device's thread.
final class StepGraphs {
  /// Rows; a step of more is bound by the GPU and not by launches.
  static let buckets = [1, 2, 4, 8, 16, 32, 64]

  private let isEnabled: Bool
  private var graphs: [Int: GPU.Graph] = [:]

  init(isEnabled: Bool) { self.isEnabled = isEnabled }

  /// Queues a whole step, if it is small enough; false if it is not.
  ///
  /// - Parameter most: as many rows as there is memory for.
  func queue(
    _ list: LaunchList, _ operations: Range<Int>, on gpu: GPU, _ counts: Launch.Counts,
    most: Launch.Counts
  ) throws(CUDAError) -> Bool {
    guard isEnabled, let bucket = Self.buckets.first(where: { $0 >= counts.tokens }) else {
      return false
    }
    if let known = graphs[bucket] {
      try gpu.launch(known)
      return true
    }
    let padded = Launch.Counts(
      tokens: min(bucket, most.tokens), outputs: min(bucket, most.outputs))
    let graph = try gpu.capture { () throws(CUDAError) in
      try list.queue(operations, on: gpu, padded)
    }
    graphs[bucket] = graph
    try gpu.launch(graph)
    return true
  }
}
