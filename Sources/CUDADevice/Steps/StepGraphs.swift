// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import Program

/// Steps as graphs, one for each bucket of rows and each run of operations between which nothing
/// else is queued, made at the first step that needs it: a run then costs the host one call and not
/// one for each kernel. Kernels look at the step's own counts, so blocks for rows that are not
/// there end at once. Confined to the device's thread.
final class StepGraphs {
  /// Rows; a step of more is bound by the GPU and not by launches.
  static let buckets = [1, 2, 4, 8, 16, 32, 64]

  private struct Key: Hashable {
    var operations: Range<Int>
    var bucket: Int
  }

  private let runs: Set<Range<Int>>
  private var graphs: [Key: GPU.Graph] = [:]

  /// - Parameter program: nil: no graphs.
  init(of program: Program?) { runs = program.map(Self.runs) ?? [] }

  /// The whole program, or what is between its exchanges: attentions over a part of the keys have
  /// one in front and one behind.
  private static func runs(of program: Program) -> Set<Range<Int>> {
    var runs: Set<Range<Int>> = []
    var start = 0
    for (index, operation) in program.operations.enumerated() where operation.isOfSlice {
      runs.formUnion([start..<index, index..<index + 1])
      start = index + 1
    }
    runs.insert(start..<program.operations.count)
    return runs
  }

  /// Queues a run, if the step is small enough; false if it is not, or if these are no run.
  ///
  /// - Parameter most: as many rows as there is memory for.
  func queue(
    _ list: LaunchList, _ operations: Range<Int>, on gpu: GPU, _ counts: Launch.Counts,
    most: Launch.Counts
  ) throws(CUDAError) -> Bool {
    guard runs.contains(operations),
      let bucket = Self.buckets.first(where: { $0 >= counts.tokens })
    else { return false }
    let key = Key(operations: operations, bucket: bucket)
    if let known = graphs[key] {
      try gpu.launch(known)
      return true
    }
    let padded = Launch.Counts(
      tokens: min(bucket, most.tokens), outputs: min(bucket, most.outputs))
    let graph = try gpu.capture { () throws(CUDAError) in
      try list.queue(operations, on: gpu, padded)
    }
    graphs[key] = graph
    try gpu.launch(graph)
    return true
  }
}

extension Operation {
  /// Whether it is an attention whose output is to be merged with those of other slices.
  fileprivate var isOfSlice: Bool {
    switch self {
    case .attention(let op): op.logSumExp != nil
    case .latentAttention(let op): op.logSumExp != nil
    default: false
    }
  }
}
