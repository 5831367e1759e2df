// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Support

/// Whole steps of up to four rows as one launch each (`one_launch.cu`), made at load. Confined to
/// the device's thread.
final class OneLaunch {
  /// Rows; a step of more is bound by the memory and not by the borders between kernels.
  static let buckets = [1, 2, 4]

  private struct Step {
    var kernel: GPU.Kernel
    var blocks: Int
    var argument: cu_one_launch
  }

  private var steps: [Int: Step] = [:]

  /// Lists the tasks of each bucket's step. Throws where one of its kernels cannot be a task.
  ///
  /// - Parameters:
  ///   - path: the file of `KernelSet`; the launches' file lies beside it.
  ///   - most: as many rows as there is memory for.
  init(
    _ gpu: GPU, besideKernels path: String, _ lowering: Lowering, _ operations: Range<Int>,
    most: Launch.Counts
  ) throws(CUDAError) {
    let module = try KernelFile.load(try KernelFile.oneLaunchPath(beside: path), on: gpu)
    for bucket in Self.buckets {
      let counts = Launch.Counts(
        tokens: min(bucket, most.tokens), outputs: min(bucket, most.outputs),
        areOfOneLaunch: true)
      var list = TaskList()
      try gpu.collect { (kernel, blocks, argument) in
        list.append(kernel, x: blocks.x, y: blocks.y, z: blocks.z, argument: argument)
      } from: { () throws(CUDAError) in
        try lowering.list.queue(operations, on: gpu, counts)
      }
      steps[bucket] = try step(gpu, module, list, stepAddress: lowering.step)
    }
  }

  private func step(
    _ gpu: GPU, _ module: GPU.Module, _ list: TaskList, stepAddress: UInt64
  ) throws(CUDAError) -> Step {
    if let misfit = list.misfit {
      throw CUDASteps.refusal(
        "kernel \(misfit) of this model cannot be part of one launch; expected "
          + "'\(CUDASteps.graphs.rawValue)'")
    }
    let sharedBytes = list.sharedBytes + Int(cu_launch_declared_bytes)
    guard sharedBytes <= gpu.properties.sharedBytesMax else {
      throw CUDASteps.refusal(
        "this model takes \(sharedBytes) bytes of shared memory in one launch; expected at most "
          + "\(gpu.properties.sharedBytesMax), or '\(CUDASteps.graphs.rawValue)'")
    }
    let kernel = try gpu.kernel(
      "step_\(list.format ?? "bf16")_\(list.valueWidth)", of: module, threads: Int(cu_threads),
      sharedBytes: list.sharedBytes)
    let byteCount = list.tasks.count * MemoryLayout<cu_task>.stride
    let address = try gpu.allocate(byteCount)
    let pinned = try gpu.allocatePinned(byteCount)
    list.tasks.withUnsafeBytes { pinned.copyMemory(from: $0) }
    if let start = pinned.baseAddress {
      try gpu.copyIn(to: address, from: start, byteCount: byteCount)
    }
    try gpu.synchronize()
    try gpu.freePinned(pinned)
    return Step(
      kernel: kernel, blocks: try gpu.blocksTogether(of: kernel),
      argument: cu_one_launch(
        tasks: UnsafePointer(pointer(address)), arrivals: cu_step.arrivals(at: stepAddress),
        count: Int32(list.tasks.count), unused: 0))
  }

  /// Queues a whole step, if it is small enough; false if it is not.
  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) -> Bool {
    guard let bucket = Self.buckets.first(where: { $0 >= counts.tokens }),
      let step = steps[bucket]
    else { return false }
    try gpu.launchTogether(step.kernel, blocks: step.blocks, with: step.argument)
    return true
  }
}
