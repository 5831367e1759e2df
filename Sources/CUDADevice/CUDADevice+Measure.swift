// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
internal import Program
package import Step
internal import Support

/// What the GPU can do, and where a step's time goes. Not part of serving.
extension CUDADevice {
  /// What a GPU can do at most.
  package struct Limits: Hashable, Sendable {
    /// Of reading memory.
    package var bytesPerSecond: Double
    /// Of `mma.sync` in bfloat16, multiplications and additions counted.
    package var flopsPerSecond: Double
  }

  private static let measuredTimes = 9

  /// Measures both, with up to a quarter of the free memory.
  package func limits() throws(DeviceError) -> Limits {
    do throws(CUDAError) {
      let path: String
      if let given = configuration.kernelPath { path = given } else { path = try KernelFile.path() }
      let kernels = try KernelSet(gpu, path: path, keyWidth: 0)
      return Limits(
        bytesPerSecond: try bandwidth(kernels), flopsPerSecond: try matrixRate(kernels))
    } catch {
      throw DeviceError(error.code, error.message)
    }
  }

  private func bandwidth(_ kernels: KernelSet) throws(CUDAError) -> Double {
    // Far more than the caches hold, where there is so much.
    let byteCount = min(2 << 30, try gpu.freeBytes() / 4) / 65_536 * 65_536
    let memory = try gpu.allocate(byteCount)
    try gpu.zero(memory, byteCount: byteCount)
    var argument = cu_measure()
    argument.source = UnsafeRawPointer(pointer(memory, to: UInt8.self))
    argument.output = pointer(memory)
    argument.bytes = Int64(byteCount)
    let blocks = gpu.properties.multiprocessors * 8
    let seconds = try median(kernels.measureRead, blocks: blocks, &argument)
    try gpu.free(memory)
    return Double(byteCount) / seconds
  }

  private func matrixRate(_ kernels: KernelSet) throws(CUDAError) -> Double {
    let memory = try gpu.allocate(256)
    var argument = cu_measure()
    argument.output = pointer(memory)
    // A fraction of a second on no GPU; an emulated one has few multiprocessors and takes as long.
    argument.repeats = gpu.properties.multiprocessors > 8 ? 4_096 : 4
    let blocks = gpu.properties.multiprocessors * 4
    let seconds = try median(kernels.measureMatrices, blocks: blocks, &argument)
    try gpu.free(memory)
    let tiles = blocks * (cu_threads / 32) * Int(argument.repeats) * 8
    return Double(tiles) * 4_096 / seconds
  }

  private func median(
    _ kernel: GPU.Kernel, blocks: Int, _ argument: inout cu_measure
  ) throws(CUDAError) -> Double {
    let (start, end) = (try gpu.makeFence(isTimed: true), try gpu.makeFence(isTimed: true))
    var times: [Double] = []
    for _ in 0..<Self.measuredTimes {
      try gpu.record(start)
      try withUnsafeMutableBytes(of: &argument) { bytes throws(CUDAError) in
        guard let place = bytes.baseAddress else { return }
        try gpu.launch(kernel, x: blocks, argument: place)
      }
      try gpu.record(end)
      times.append(try gpu.seconds(from: start, to: end))
    }
    return times.sorted()[Self.measuredTimes / 2]
  }

  /// Where the time of a step goes.
  package struct Profile: Sendable {
    /// Of each operation, the median of its times; the marks between take a microsecond or so.
    package var operationSeconds: [Double]
    /// Of a step without marks, from its begin until its logits could be read.
    package var stepSeconds: Double
  }

  /// Runs a step again and again, keys and values being zeros.
  package func profile(_ plan: StepPlan, repeats: Int) throws(DeviceError) -> Profile {
    guard let loaded else { throw DeviceError(.internal, "the device is not loaded") }
    do throws(CUDAError) {
      let operations = loaded.program.operations.indices
      try loaded.lowering.zeroCaches(on: gpu)
      var steps: [Double] = []
      for _ in 0..<repeats {
        let start = Clock.nowNanoseconds
        try beginStep(plan, loaded)
        try queue(operations, loaded)
        try gpu.synchronize()
        steps.append(Double(Clock.nowNanoseconds - start) / 1e9)
      }
      var fences: [GPU.Fence] = []
      for _ in 0...operations.count { fences.append(try gpu.makeFence(isTimed: true)) }
      var times = [[Double]](repeating: [], count: operations.count)
      for _ in 0..<repeats {
        try beginStep(plan, loaded)
        try gpu.record(fences[0])
        for index in operations {
          try queue(index..<index + 1, loaded)
          try gpu.record(fences[index + 1])
        }
        for index in operations {
          times[index].append(try gpu.seconds(from: fences[index], to: fences[index + 1]))
        }
      }
      return Profile(
        operationSeconds: times.map { $0.sorted()[repeats / 2] },
        stepSeconds: steps.sorted()[repeats / 2])
    } catch {
      throw DeviceError(error.code, error.message)
    }
  }
}
