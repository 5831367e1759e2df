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
package final class CUDADevice: LargestReader {
  let configuration: CUDADeviceConfiguration
  let gpu: GPU
  private(set) var loaded: Loaded?

  /// What a loaded program became.
  struct Loaded {
    var program: Program
    var lowering: Lowering
    var step: StepBuffer
    var transfer: UnsafeMutableRawBufferPointer
    /// A key for each output, on the GPU.
    var largestKeys: UInt64
    var formats: String
    let graphs: StepGraphs
    /// Rows that there is memory for.
    var most: Launch.Counts
  }

  /// Pinned memory through which values are read and written, at most so much at once.
  private static let transferBytesMax = 32 << 20

  /// Opens the driver and the GPU. Throws if there is no such GPU.
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
      return gpu
    }
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
    return "cuda:\(configuration.gpu) (\(gpu.properties.name), \(formats))"
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

  private func loading(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(CUDAError) -> Loaded {
    let path: String
    if let given = configuration.kernelPath { path = given } else { path = try KernelFile.path() }
    let kernels = try KernelSet(gpu, path: path, AttentionShape(program))
    let loader = WeightLoader(
      gpu, kernels: kernels, source: weights, precision: configuration.precision)
    func lowering(_ arena: DeviceArena) -> Lowering {
      Lowering(program, capacity: capacity, kernels: kernels, loader: loader, arena: arena)
    }
    var layout = lowering(DeviceArena())
    try layout.run(progress: { _ in })
    let size = layout.arena.used
    var filled = lowering(DeviceArena(base: try allocate(layout.arena), size: size))
    try filled.run(progress: progress)
    try loader.finish()
    let step = try StepBuffer(
      gpu, address: filled.step, capacity: capacity, vocabularySize: program.vocabularySize)
    let transfer = try gpu.allocatePinned(Self.transferBytes(program, filled.values, capacity))
    return Loaded(
      program: program, lowering: filled, step: step, transfer: transfer,
      largestKeys: try gpu.allocate(max(1, capacity.outputCountMax) * 8),
      formats: loader.formatsInUse.sorted().joined(separator: " and "),
      graphs: StepGraphs(isEnabled: configuration.usesGraphs),
      most: Launch.Counts(tokens: capacity.rowCountMax, outputs: capacity.outputCountMax))
  }

  /// The one piece of memory; an error says what it was for and what would make it smaller.
  private func allocate(_ layout: DeviceArena) throws(CUDAError) -> UInt64 {
    let free = try gpu.freeBytes()
    do throws(CUDAError) {
      guard layout.used <= free else { throw CUDAError(.resourceExhausted, "") }
      return try gpu.allocate(layout.used)
    } catch  where error.code == .resourceExhausted {
      let parts = DeviceArena.Use.allCases.map { use in
        "\(ByteCount.text(layout.bytes[use] ?? 0)) for \(use.rawValue)"
      }
      throw CUDAError(
        .resourceExhausted,
        "cuda:\(configuration.gpu) has \(ByteCount.text(free)) of memory free; needed are "
          + "\(ByteCount.text(layout.used)): \(parts.joined(separator: ", ")). A smaller "
          + "--kv-memory or --max-batch, --precision fp8 or w4, or --stages over several GPUs "
          + "needs less")
    }
  }

  /// Room for the largest value, or for as much of it as crosses at once.
  private static func transferBytes(
    _ program: Program, _ values: ValuePlaces, _ capacity: DeviceCapacity
  ) -> Int {
    var largest = 0
    var widest = 0
    for value in program.values where value.kind == .floats {
      let rows = value.rows == .tokens ? capacity.rowCountMax : capacity.outputCountMax
      let width = ValuePlaces.padded(value.width) * 4
      largest = max(largest, rows * width)
      widest = max(widest, width)
    }
    return max(widest, min(largest, transferBytesMax))
  }

  // MARK: Steps

  package func begin(_ plan: StepPlan) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    try onGPU { () throws(CUDAError) in try beginStep(plan, loaded) }
  }

  func beginStep(_ plan: StepPlan, _ loaded: Loaded) throws(CUDAError) {
    gpu.step = plan.id
    try loaded.step.fill(plan)
    for launch in loaded.lowering.beginning { try launch.queue(on: gpu, counts(loaded)) }
  }

  package func run(_ operations: Range<Int>) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    try onGPU { () throws(CUDAError) in try queue(operations, loaded) }
  }

  func queue(_ operations: Range<Int>, _ loaded: Loaded) throws(CUDAError) {
    let counts = counts(loaded)
    let list = loaded.lowering.list
    let isWhole = operations == loaded.program.operations.indices
    if isWhole,
      try loaded.graphs.queue(list, operations, on: gpu, counts, most: loaded.most)
    {
      return
    }
    try list.queue(operations, on: gpu, counts)
  }

  func counts(_ loaded: Loaded) -> Launch.Counts {
    Launch.Counts(tokens: loaded.step.rowCount, outputs: loaded.step.outputCount)
  }
}
