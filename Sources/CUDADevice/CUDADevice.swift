// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
package import Step
internal import Support

/// Runs a program on one GPU of NVIDIA.
///
/// A program is lowered once, at load, to launches of kernels; a step queues them and waits only
/// where a result is read. Every sum has one order, whatever the batch, the chunks and the stages:
/// on one kind of GPU, a sequence's logits have the same bits always. Confined to the executor's
/// thread. After a fault of the GPU every call throws.
package final class CUDADevice: Device {
  let configuration: CUDADeviceConfiguration
  let gpu: GPU
  private(set) var loaded: Loaded?

  /// What a loaded program became.
  struct Loaded {
    var program: Program
    var lowering: Lowering
    var step: StepBuffer
    var transfer: UnsafeMutableRawBufferPointer
    var drawing: DrawMemory
    var formats: String
    /// Bytes of weights in the host's memory, and whose they are.
    var outside: OutsideWeights
    let graphs: StepGraphs
    let oneLaunch: OneLaunch?
    /// Rows that there is memory for.
    var most: Launch.Counts
  }

  /// Shared memory of a block: an A100's. GPUs of 8.6, 8.9 and 12.0 have 99 KiB, where a product
  /// of a gated unit in bfloat16 takes 136.
  private static let sharedBytesMin = 163 << 10

  /// Opens the driver and the GPU. Throws if there is no such GPU, or if it has too little.
  package init(_ configuration: CUDADeviceConfiguration = .init()) throws(DeviceError) {
    self.configuration = configuration
    gpu = try CUDAError.forDevice { () throws(CUDAError) in
      let gpu = try GPU(CUDADriver(path: configuration.driverPath), index: configuration.gpu)
      guard gpu.properties.capability >= 80 else {
        throw CUDAError(
          .failedPrecondition,
          "cuda:\(configuration.gpu) (\(gpu.properties.name)) has compute "
            + "capability \(gpu.properties.capability); expected 80 or more (Ampere or later)")
      }
      guard gpu.properties.sharedBytesMax >= Self.sharedBytesMin else {
        throw CUDAError(
          .failedPrecondition,
          "cuda:\(configuration.gpu) (\(gpu.properties.name)) has "
            + "\(gpu.properties.sharedBytesMax) bytes of shared memory for a block; expected "
            + "\(Self.sharedBytesMin) (compute capability 8.0, 9.0, 10.0), which the kernels take")
      }
      return gpu
    }
    guard precisions.contains(configuration.precision) else {
      throw DeviceError(
        .failedPrecondition,
        "cuda:\(configuration.gpu) (\(gpu.properties.name)) has compute capability "
          + "\(gpu.properties.capability); precision \(configuration.precision.rawValue) needs "
          + "\(configuration.precision.capability ?? 0) (Hopper) and its products of FP8 with FP8; "
          + "expected precision fp8, or w8a8")
    }
  }

  /// Those that its GPU has products for.
  package var precisions: [CUDAPrecision] {
    CUDAPrecision.all(capability: gpu.properties.capability)
  }

  /// Calls the GPU, whichever one this thread has called before.
  func onGPU<Result>(
    _ body: () throws(CUDAError) -> Result
  ) throws(DeviceError) -> Result {
    try CUDAError.forDevice { () throws(CUDAError) in
      try gpu.makeCurrent()
      return try body()
    }
  }

  package var summary: String {
    let formats = loaded?.formats ?? configuration.precision.rawValue
    let keys = configuration.cachePrecision == .fp8 ? ", keys and values in fp8" : ""
    let prompts = configuration.expansion == nil ? "" : ", expanded attention of prompts"
    return "cuda:\(configuration.gpu) (\(gpu.properties.name), \(formats)\(keys)\(prompts))"
  }

  /// Where its GPU sits: "0000:17:00.0".
  package var pciAddress: String { gpu.properties.pciAddress }

  // MARK: Loading

  package func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    check(loaded == nil, "a device is loaded once")
    try onGPU { () throws(CUDAError) in
      loaded = try loading(program, from: weights, capacity: capacity, progress: progress)
    }
  }

  package var note: String? { loaded?.outside.note(gpu: configuration.gpu) }

  // MARK: Steps

  package func begin(_ plan: StepPlan) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    try onGPU { () throws(CUDAError) in try beginStep(plan, loaded) }
  }

  func beginStep(_ plan: StepPlan, _ loaded: Loaded) throws(CUDAError) {
    gpu.step = plan.id
    try loaded.step.fill(plan)
    for launch in loaded.lowering.beginning { try launch.queue(on: gpu, counts(loaded)) }
    try loaded.step.markTaken()
  }

  package func run(_ operations: Range<Int>) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    try onGPU { () throws(CUDAError) in try queue(operations, loaded) }
  }

  func queue(_ operations: Range<Int>, _ loaded: Loaded) throws(CUDAError) {
    let counts = counts(loaded)
    let list = loaded.lowering.list
    let isWhole = operations == loaded.program.operations.indices
    // Chunks of prompts decide what is launched.
    if counts.chunks.isEmpty {
      if isWhole, try loaded.oneLaunch?.queue(on: gpu, counts) == true { return }
      if try loaded.graphs.queue(list, operations, on: gpu, counts, most: loaded.most) { return }
    }
    try list.queue(operations, on: gpu, counts)
  }

  func counts(_ loaded: Loaded) -> Launch.Counts {
    Launch.Counts(
      tokens: loaded.step.rowCount, outputs: loaded.step.outputCount, chunks: loaded.step.chunks)
  }
}
