// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
internal import Program
internal import Support

extension CUDADevice {
  /// Pinned memory through which values are read and written, at most so much at once.
  private static let transferBytesMax = 32 << 20

  func loading(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(CUDAError) -> Loaded {
    let path: String
    if let given = configuration.kernelPath { path = given } else { path = try KernelFile.path() }
    let chunkRowsMin = try configuration.expansion?.checked(program, capacity.contextSlice) ?? .max
    let kernels = try KernelSet(
      gpu, path: path, AttentionShape(program, configuration.cachePrecision),
      configuration.precision,
      expanded: configuration.expansion.map { _ in ExpandedShape(program.latentGroups) })
    let loader = WeightLoader(
      gpu, kernels: kernels, source: weights, precision: configuration.precision)
    func walk(
      _ arena: DeviceArena, outside: Set<Int>, progress: (Int) -> Void
    ) throws(CUDAError) -> Lowering {
      var lowering = Lowering(
        program, capacity: capacity, kernels: kernels, loader: loader,
        configuration: configuration, arena: arena, outside: outside)
      try lowering.run(progress: progress)
      return lowering
    }
    var layout = try walk(DeviceArena(), outside: [], progress: { _ in })
    let outside = try outsideWeights(layout)
    if !outside.operations.isEmpty {
      layout = try walk(DeviceArena(), outside: outside.operations, progress: { _ in })
    }
    let formats = loader.formatsInUse.sorted().joined(separator: " and ")
    let arena = try allocate(
      layout.arena, try shared(program, weights, formats, byteCount: layout.arena.weights.used))
    let filled = try walk(arena, outside: outside.operations, progress: progress)
    try loader.finish()
    let step = try StepBuffer(
      gpu, kernels.fetchStep, address: filled.step, capacity: capacity,
      vocabularySize: program.vocabularySize, chunkRowsMin: chunkRowsMin)
    let transfer = try gpu.allocatePinned(Self.transferBytes(program, filled.values, capacity))
    let most = Launch.Counts(tokens: capacity.rowCountMax, outputs: capacity.outputCountMax)
    let steps: CUDASteps
    if let given = configuration.steps { steps = given } else { steps = try .ofEnvironment() }
    return Loaded(
      program: program, lowering: filled, step: step, transfer: transfer,
      drawing: try DrawMemory(gpu, program, outputs: capacity.outputCountMax),
      formats: formats, outside: outside,
      graphs: StepGraphs(of: steps == .kernels ? nil : program),
      oneLaunch: steps != .oneLaunch
        ? nil
        : try OneLaunch(
          gpu, besideKernels: path, filled, program.operations.indices, most: most),
      most: most)
  }

  /// Which weights lie in the host's memory, if the GPU's is too small and that is wanted.
  private func outsideWeights(_ layout: Lowering) throws(CUDAError) -> OutsideWeights {
    let free = try gpu.freeBytes()
    let needed = layout.arena.used + WeightLoader.deviceBytes
    guard let host = configuration.hostMemory, needed > free else { return OutsideWeights() }
    // The driver takes some, too.
    let missing = needed - free + min(CUDABudget.reserveBytes, free / 2)
    let outside = OutsideWeights(layout.program, layout.weightBytes, missing: missing)
    guard host.take(outside.byteCount) else {
      throw CUDAError(
        .resourceExhausted,
        "cuda:\(configuration.gpu) lacks memory for \(ByteCount.text(outside.byteCount)) of "
          + "weights; --gpu-overflow leaves \(ByteCount.text(host.left)) of "
          + "\(ByteCount.text(host.byteCount)) for them in the host's memory")
    }
    return outside
  }

  /// What is shared with other processes.
  private struct Shared {
    var share: WeightShare
    var key: WeightKey
    /// The weights that another process has loaded; nil: this one does, for others too.
    var taken: MemoryDescriptor?
  }

  private func shared(
    _ program: Program, _ weights: any WeightSource, _ formats: String, byteCount: Int
  ) throws(CUDAError) -> Shared? {
    guard let (share, model) = configuration.sharing, byteCount > 0 else { return nil }
    do {
      let key = try WeightKey(
        model: model, program, from: weights, precision: configuration.precision,
        formats: formats, isExpanded: configuration.expansion != nil, byteCount: byteCount,
        gpu: gpu.properties.uuid)
      return Shared(share: share, key: key, taken: share.loads ? nil : try share.take(key))
    } catch let error as LocalSocket.Failure {
      throw CUDAError(error.code, "cuda:\(configuration.gpu): \(error.message)")
    } catch {
      throw CUDAError(.failedPrecondition, "\(error)")
    }
  }

  /// The pieces of memory; an error says what they were for and what would make them smaller.
  private func allocate(
    _ layout: DeviceArena, _ shared: Shared?
  ) throws(CUDAError) -> DeviceArena {
    let free = try gpu.freeBytes()
    let isTaken = shared?.taken != nil
    let needed = isTaken ? layout.own.used : layout.used
    do throws(CUDAError) {
      guard needed + WeightLoader.deviceBytes <= free else {
        throw CUDAError(.resourceExhausted, "")
      }
      return DeviceArena(
        as: layout, weights: try allocateWeights(layout.weights.used, shared),
        outside: layout.outside.used == 0 ? 0 : try gpu.allocateInHostMemory(layout.outside.used),
        own: try gpu.allocate(layout.own.used), fillsWeights: !isTaken)
    } catch  where error.code == .resourceExhausted {
      throw tooLarge(layout, needed: needed, free: free)
    }
  }

  private func allocateWeights(_ byteCount: Int, _ shared: Shared?) throws(CUDAError) -> UInt64 {
    guard let shared else { return try gpu.allocate(byteCount) }
    if let memory = shared.taken { return try gpu.mapShared(memory, byteCount: byteCount) }
    let (address, memory) = try gpu.allocateShareable(byteCount)
    // Nobody is answered before all is loaded.
    shared.share.offer(memory, for: shared.key)
    return address
  }

  private func tooLarge(_ layout: DeviceArena, needed: Int, free: Int) -> CUDAError {
    let parts = DeviceArena.Use.allCases.map { use in
      "\(ByteCount.text(layout.bytes[use] ?? 0)) for \(use.rawValue)"
    }
    let overflow =
      configuration.hostMemory == nil
      ? "; --gpu-overflow SIZE keeps weights in the host's memory, which is slow" : ""
    return CUDAError(
      .resourceExhausted,
      "cuda:\(configuration.gpu) has \(ByteCount.text(free)) of memory free; needed are "
        + "\(ByteCount.text(needed)): \(parts.joined(separator: ", ")); and "
        + "\(ByteCount.text(WeightLoader.deviceBytes)) while it loads. A smaller "
        + "--kv-memory or --max-batch, --precision fp8 or w4, or --stages over several GPUs "
        + "needs less\(overflow)")
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
}
