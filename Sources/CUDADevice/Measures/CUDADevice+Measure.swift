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
    /// Of copying within it: bytes read and bytes written.
    package var copiedBytesPerSecond: Double
    /// Of `mma.sync` in bfloat16, multiplications and additions counted.
    package var flopsPerSecond: Double
  }

  /// How many times something is done for a median, and the time after which few times do.
  package struct Effort: Hashable, Sendable {
    package var repeats: Int
    package var seconds: Double

    package init(repeats: Int, seconds: Double) {
      self.repeats = repeats
      self.seconds = seconds
    }

    func goesOn(after times: Int, since start: UInt64) -> Bool {
      times < min(repeats, 3)
        || times < repeats && Double(Clock.nowNanoseconds - start) < seconds * 1e9
    }
  }

  private static let measuredTimes = 9

  /// Measures all, with up to a quarter of the free memory.
  package func limits() throws(DeviceError) -> Limits {
    try onGPU { () throws(CUDAError) in
      let path: String
      if let given = configuration.kernelPath { path = given } else { path = try KernelFile.path() }
      let kernels = try KernelSet(gpu, path: path, AttentionShape(), .bf16)
      let (read, copied) = try bandwidths(kernels)
      return Limits(
        bytesPerSecond: read, copiedBytesPerSecond: copied, flopsPerSecond: try matrixRate(kernels))
    }
  }

  private func bandwidths(_ kernels: KernelSet) throws(CUDAError) -> (Double, Double) {
    // Far more than the caches hold, where there is so much.
    let byteCount = min(2 << 30, try gpu.freeBytes() / 4) / 65_536 * 65_536
    let memory = try gpu.allocate(byteCount)
    try fill(memory, byteCount: byteCount, kernels)
    var argument = cu_measure()
    argument.source = UnsafeRawPointer(pointer(memory, to: UInt8.self))
    argument.output = pointer(memory)
    argument.bytes = Int64(byteCount)
    let blocks = gpu.properties.multiprocessors * 8
    let reading = try median(kernels.measureRead, blocks: blocks, argument)
    argument.output = pointer(memory + UInt64(byteCount / 2))
    argument.bytes = Int64(byteCount / 2)
    let copying = try median(kernels.measureCopy, blocks: blocks, argument)
    try gpu.free(memory)
    return (Double(byteCount) / reading, Double(byteCount) / copying)
  }

  /// Numbers that are neither zero nor alike: what is easy to compute with is computed faster.
  private func fill(
    _ address: UInt64, byteCount: Int, _ kernels: KernelSet
  ) throws(CUDAError) {
    var argument = cu_measure()
    argument.output = pointer(address)
    argument.bytes = Int64(byteCount)
    try gpu.launch(kernels.measureFill, x: gpu.properties.multiprocessors * 8, with: argument)
  }

  private func matrixRate(_ kernels: KernelSet) throws(CUDAError) -> Double {
    let memory = try gpu.allocate(256)
    var argument = cu_measure()
    argument.output = pointer(memory)
    // A fraction of a second on no GPU; an emulated one has few multiprocessors and takes as long.
    argument.repeats = gpu.properties.multiprocessors > 8 ? 4_096 : 4
    let blocks = gpu.properties.multiprocessors * 4
    let seconds = try median(kernels.measureMatrices, blocks: blocks, argument)
    try gpu.free(memory)
    let tiles = blocks * (cu_threads / 32) * Int(argument.repeats) * 8
    return Double(tiles) * 4_096 / seconds
  }

  private func median(
    _ kernel: GPU.Kernel, blocks: Int, _ argument: cu_measure
  ) throws(CUDAError) -> Double {
    let (start, end) = (try gpu.makeFence(isTimed: true), try gpu.makeFence(isTimed: true))
    var times: [Double] = []
    for _ in 0..<Self.measuredTimes {
      try gpu.record(start)
      try gpu.launch(kernel, x: blocks, with: argument)
      try gpu.record(end)
      times.append(try gpu.seconds(from: start, to: end))
    }
    return times.sorted()[Self.measuredTimes / 2]
  }

  /// Fills keys and values with numbers.
  package func fillCaches() throws(DeviceError) {
    try measuring { (loaded) throws(CUDAError) in
      for (place, byteCount) in loaded.lowering.cachePlaces {
        try fill(place, byteCount: byteCount, loaded.lowering.kernels)
      }
      try gpu.synchronize()
    }
  }

  /// The median time of a step, from its begin until its logits could be read.
  package func stepSeconds(_ plan: StepPlan, _ effort: Effort) throws(DeviceError) -> Double {
    try measuring { (loaded) throws(CUDAError) in
      func step() throws(CUDAError) -> Double {
        let start = Clock.nowNanoseconds
        try beginStep(plan, loaded)
        try queue(loaded.program.operations.indices, loaded)
        try gpu.synchronize()
        return Double(Clock.nowNanoseconds - start) / 1e9
      }
      // The first makes a graph.
      _ = try step()
      var times: [Double] = []
      let start = Clock.nowNanoseconds
      while effort.goesOn(after: times.count, since: start) { times.append(try step()) }
      return times.sorted()[times.count / 2]
    }
  }

  /// Of each operation, the median of its times; the marks between take a microsecond or so.
  package func operationSeconds(
    _ plan: StepPlan, _ effort: Effort
  ) throws(DeviceError) -> [Double] {
    try measuring { (loaded) throws(CUDAError) in
      let operations = loaded.program.operations.indices
      var fences: [GPU.Fence] = []
      for _ in 0...operations.count { fences.append(try gpu.makeFence(isTimed: true)) }
      var times = [[Double]](repeating: [], count: operations.count)
      let start = Clock.nowNanoseconds
      while effort.goesOn(after: times.first?.count ?? effort.repeats, since: start) {
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
      return times.map { $0.sorted()[$0.count / 2] }
    }
  }

  /// The kernels that some operations of a step would be, one after the other.
  package func kernelNames(
    _ operations: Range<Int>, tokens: Int, outputs: Int
  ) throws(DeviceError) -> [String] {
    try measuring { (loaded) throws(CUDAError) in
      var names: [String] = []
      try gpu.collect { (kernel, _, _) in
        names.append(kernel.name)
      } from: { () throws(CUDAError) in
        try loaded.lowering.list.queue(
          operations, on: gpu, Launch.Counts(tokens: tokens, outputs: outputs))
      }
      return names
    }
  }

  private func measuring<Result>(
    _ body: (Loaded) throws(CUDAError) -> Result
  ) throws(DeviceError) -> Result {
    guard let loaded else { throw DeviceError(.internal, "the device is not loaded") }
    return try onGPU { () throws(CUDAError) in try body(loaded) }
  }
}
