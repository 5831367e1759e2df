// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
internal import Program
internal import Support

/// Turns a program into launches, all addresses resolved, so that a step does nothing but queue
/// them. Walked twice: to lay out the memory, then to fill it.
struct Lowering {
  let program: Program
  let capacity: DeviceCapacity
  let kernels: KernelSet
  let loader: WeightLoader
  var arena: DeviceArena
  let values: ValuePlaces
  let step: UInt64
  let list = LaunchList()
  /// What a step begins with: the angles of its positions.
  private(set) var beginning: [Launch] = []
  private var angles: [RopeTable: UInt64] = [:]
  private let caches: [UInt64]
  var scratch = LayerScratch()
  /// Whose slots are sorted by expert.
  var sortedRouting: ValueID?

  init(
    _ program: Program, capacity: DeviceCapacity, kernels: KernelSet, loader: WeightLoader,
    arena: DeviceArena
  ) {
    self.program = program
    self.capacity = capacity
    self.kernels = kernels
    self.loader = loader
    var arena = arena
    step = arena.allocate(MemoryLayout<cu_step>.size, for: .buffers)
    values = ValuePlaces(program, capacity: capacity, arena: &arena)
    caches = program.caches.map { cache in
      arena.allocate(Self.byteCount(of: cache, capacity), for: .cache)
    }
    self.arena = arena
  }

  /// Lowers all operations; `progress` is told the bytes of weights loaded so far.
  mutating func run(progress: (Int) -> Void) throws(CUDAError) {
    for operation in program.operations {
      list.beginOperation()
      try lower(operation)
      progress(loader.loadedBytes)
    }
    list.beginOperation()
  }

  private mutating func lower(_ operation: Operation) throws(CUDAError) {
    switch operation {
    case .embed(let op): try embed(op)
    case .rmsNorm(let op): try rmsNorm(op)
    case .linear(let op): try linear(op)
    case .headwiseLinear(let op): try headwiseLinear(op)
    case .rope(let op): try rope(op)
    case .attention(let op): try attention(op)
    case .latentAttention(let op): try latentAttention(op)
    case .route(let op): try route(op)
    case .experts(let op): try experts(op)
    case .swiglu(let op): swiglu(op)
    case .add(let op): add(op)
    case .join(let op): join(op)
    case .selectOutputs(let op): selectOutputs(op)
    }
  }

  // MARK: Places

  var stepPointer: UnsafePointer<cu_step>? { UnsafePointer(pointer(step)) }

  func cache(_ id: CacheID) -> UInt64 { caches[id.index] }

  func zeroCaches(on gpu: GPU) throws(CUDAError) {
    for (place, shape) in zip(caches, program.caches) {
      try gpu.zero(place, byteCount: Self.byteCount(of: shape, capacity))
    }
  }

  private static func byteCount(of cache: CacheShape, _ capacity: DeviceCapacity) -> Int {
    capacity.blockCount * capacity.blockTokens * cache.width * CUDABudget.cacheElementBytes
  }

  func space(of value: ValueID) -> RowSpace { program[value].rows }

  static func index(_ space: RowSpace) -> Int32 { space == .tokens ? 0 : 1 }

  func columns(_ columns: Columns) -> cu_columns {
    cu_columns(
      data: pointer(values.address(columns.value) + UInt64(columns.offset * 4)),
      stride: Int64(values.stride(columns.value)), group: Int32(columns.stride),
      count: Int32(columns.count), width: Int32(columns.width), unused: 0)
  }

  func floats(_ value: ValueID) -> UnsafeMutablePointer<Float>? { pointer(values.address(value)) }

  func stride(_ value: ValueID) -> Int64 { Int64(values.stride(value)) }

  /// The angles of a table, computed once a step.
  mutating func angles(_ table: RopeTable) throws(CUDAError) -> UInt64 {
    if let known = angles[table] { return known }
    let pairs = table.inverseFrequencies.count
    let place = arena.allocate(capacity.rowCountMax * pairs * 8, for: .buffers)
    let frequencies = try loader.constants(table.inverseFrequencies, &arena)
    let argument = cu_angles(
      step: stepPointer, inverse_frequencies: UnsafePointer(pointer(frequencies)),
      angles: pointer(place), pairs: Int32(pairs), magnitude: table.magnitude)
    beginning.append(.rows(kernels.ropeAngles, list.keep(argument), .tokens))
    angles[table] = place
    return place
  }
}

/// Where the values of a program are. Rows begin at multiples of 16 bytes.
struct ValuePlaces {
  private let program: Program
  private let assignment: BufferAssignment
  private var buffers: [UInt64] = []

  init(_ program: Program, capacity: DeviceCapacity, arena: inout DeviceArena) {
    self.program = program
    assignment = BufferAssignment(program)
    for buffer in assignment.buffers {
      let rows = buffer.rows == .tokens ? capacity.rowCountMax : capacity.outputCountMax
      let bytes =
        buffer.kind == .floats
        ? Self.padded(buffer.width) * 4 : buffer.width * MemoryLayout<cu_choice>.stride
      buffers.append(arena.allocate(rows * bytes, for: .buffers))
    }
  }

  func address(_ value: ValueID) -> UInt64 {
    guard let index = assignment[value] else {
      checkFailed("\(value) has no buffer", file: #fileID, line: #line)
    }
    return buffers[index]
  }

  /// Floats from one row to the next.
  func stride(_ value: ValueID) -> Int { Self.padded(program[value].width) }

  static func padded(_ width: Int) -> Int { (width + 3) / 4 * 4 }
}
