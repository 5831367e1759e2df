// SPDX-License-Identifier: Apache-2.0

internal import CKernels
package import Device
package import Program
package import Step
internal import Support

/// Runs a program on CPU cores with vector kernels.
///
/// A program is lowered once, at load, to phases of C kernels; a step runs them, allocating
/// nothing. Every sum has one order, whatever the batch, the chunks and the threads: on one
/// level, a sequence's logits have the same bits always. Confined to the executor's thread.
package final class CPUDevice: Device {
  private let configuration: CPUDeviceConfiguration
  private let level: CPULevel
  private let kernels: ck_kernels
  private let pool: WorkerPool
  private let arena = Arena()
  private var loaded: Loaded?

  /// What a loaded program became.
  private struct Loaded {
    var program: Program
    var memory: StepMemory
    var values: ValueMemory
    var phases: PhaseList
    var fusedPhases: PhaseList
    var beginPhases: [ck_phase]
    var owners: [any AnyObject & Sendable]
    var pageReader: PageReader
    var precision: String
  }

  /// Starts the threads. Throws for a level that the machine lacks, and for impossible numbers.
  package init(_ configuration: CPUDeviceConfiguration = .init()) throws(DeviceError) {
    self.configuration = configuration
    let wanted = if let level = configuration.level { level } else { try CPULevel.chosen() }
    level = wanted.level(for: configuration.precision)
    guard let kernels = level.kernels?.pointee else {
      let available = CPULevel.available.map(\.rawValue).joined(separator: ", ")
      throw DeviceError(
        .failedPrecondition,
        "the CPU level is '\(level.rawValue)' (SILICA_CPU_LEVEL); this machine has \(available)")
    }
    self.kernels = kernels
    pool = try WorkerPool(
      threadCount: try configuration.resolvedThreadCount(), cpus: configuration.cpus)
  }

  package var summary: String {
    let threads = pool.threadCount == 1 ? "1 thread" : "\(pool.threadCount) threads"
    let precision = loaded?.precision ?? configuration.precision.rawValue
    return "cpu (\(level.rawValue), \(threads), \(precision))"
  }

  package func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    check(loaded == nil, "a device is loaded once")
    let memory = try StepMemory(capacity, arena: arena)
    let packer = WeightPacker(
      source: weights, precision: configuration.precision, arena: arena, pool: pool)
    var lowering = try Lowering(
      program, capacity: capacity, kernels: kernels, memory: memory, packer: packer,
      cacheType: configuration.keepsFloatCaches ? CK_F32 : CK_BF16)
    try lowering.run(progress: progress)
    guard configuration.precision != .fp8 || lowering.packer.usesFloat8 else {
      throw DeviceError(
        .failedPrecondition,
        "precision is fp8, but the checkpoint has its matrices in "
          + "\(lowering.packer.precisionInUse); expected FP8 with scales of 128 columns")
    }
    try pool.reserve(scratch: lowering.scratchFloats)
    loaded = Loaded(
      program: program, memory: memory, values: lowering.values, phases: lowering.phases,
      fusedPhases: lowering.fusedPhases, beginPhases: lowering.beginPhases,
      owners: lowering.packer.owners, pageReader: PageReader(lowering.packer.mappedTables),
      precision: lowering.packer.precisionInUse)
  }

  package func begin(_ plan: StepPlan) {
    guard let loaded else { return check(false, "the device is not loaded") }
    loaded.memory.fill(plan)
    loaded.beginPhases.withUnsafeBufferPointer { pool.run($0, step: loaded.memory.step) }
  }

  package func run(_ operations: Range<Int>) {
    guard let loaded else { return check(false, "the device is not loaded") }
    // Fused wherever both ends lie between fused groups; they always do in a model's run.
    if let range = loaded.fusedPhases.range(operations) {
      run(loaded.fusedPhases.phases, range, loaded.memory)
    } else if let range = loaded.phases.range(operations) {
      run(loaded.phases.phases, range, loaded.memory)
    }
  }

  private func run(_ phases: [ck_phase], _ range: Range<Int>, _ memory: StepMemory) {
    phases.withUnsafeBufferPointer { all in
      pool.run(UnsafeBufferPointer(rebasing: all[range]), step: memory.step)
    }
  }

  package func read(_ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>) {
    let source = floats(of: value, count: destination.count)
    destination.baseAddress?.update(from: source, count: destination.count)
  }

  package func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) {
    let destination = floats(of: value, count: source.count)
    if let start = source.baseAddress { destination.update(from: start, count: source.count) }
  }

  private func shape(of value: ValueID) -> (rows: Int, width: Int) {
    guard let loaded else { checkFailed("the device is not loaded", file: #fileID, line: #line) }
    let shape = loaded.program[value]
    let rows = shape.rows == .tokens ? loaded.memory.rowCount : loaded.memory.outputCount
    return (rows, shape.width)
  }

  private func memory(of value: ValueID) -> UnsafeMutablePointer<Float> {
    guard let loaded else { checkFailed("the device is not loaded", file: #fileID, line: #line) }
    return loaded.values.floats(value)
  }

  private func floats(of value: ValueID, count: Int) -> UnsafeMutablePointer<Float> {
    let (rows, width) = shape(of: value)
    check(count == rows * width, "\(value) has \(rows * width) floats, not \(count)")
    return memory(of: value)
  }
}

// MARK: - Tokens

extension CPUDevice: TokenDrawer {
  package var drawsAtRandom: Bool { false }

  /// Looks for the largest of every row.
  package func draw(
    _ value: ValueID, _ draws: StepDraws, into columns: UnsafeMutableBufferPointer<Int32>,
    reports: UnsafeMutableBufferPointer<LogitReport>
  ) {
    let (rows, width) = shape(of: value)
    check(columns.count == rows, "\(value) has \(rows) rows, not \(columns.count)")
    pool.run(
      kernels.largest,
      ck_largest(
        input: memory(of: value), rows: Int64(rows), width: Int64(width),
        columns: columns.baseAddress))
  }

  package func read(
    _ value: ValueID, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
  ) {
    let (rowCount, width) = shape(of: value)
    check(
      rows.upperBound <= rowCount && destination.count == rows.count * width,
      "\(value) has \(rowCount) rows of \(width) floats, not \(rows)")
    destination.baseAddress?.update(
      from: memory(of: value) + rows.lowerBound * width, count: destination.count)
  }
}
