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
  /// What products multiply with where they read codes.
  let code: cu_code
  let step: UInt64
  /// See `LayerScratch.arranged`.
  let arranged: UInt64
  let list = LaunchList()
  let fusions: [Fusion]
  /// The products of linears, by operation.
  var products: [Int: (argument: cu_product, layout: MatrixLayout)] = [:]
  /// Norms, by operation.
  var norms: [Int: cu_norm] = [:]
  /// What each attention is, by its operation.
  var attentions: [Int: (store: cu_store, attend: AttentionLaunch)] = [:]
  /// Weighted sums of what experts give, by their operation.
  var combinations: [Int: cu_combine] = [:]
  /// Likewise products of single heads, and what makes keys of latents, by a group's first.
  var headProducts: [Int: (argument: cu_product, matrix: GPUMatrix)] = [:]
  var keyMatrices: [Int: GPUMatrix] = [:]
  /// Of latent attention in the expanded form; nil without.
  let expansion: CUDAExpansion?
  let expandedMemory: ExpandedMemory?
  /// Steps of 1, 2, … times `CUDAExpansion.tokensMultiple` rows, of which nothing else is known.
  var expandedSteps: UInt64 = 0
  /// What makes the codes of a value's floats, where products read such.
  private(set) var quantizing: [ValueID: Launch] = [:]
  /// Values whose writers make their codes, and those of which only a merge of parts does.
  var codedInPassing: Set<ValueID> = []
  var mergedAsCodes: Set<ValueID> = []
  /// What a step begins with: the angles of its positions.
  private(set) var beginning: [Launch] = []
  private var angles: [RopeTable: UInt64] = [:]
  /// Where each attention's keys and values are, by its operation.
  private let caches: [Int: Cache]
  /// Operations whose weights lie outside the GPU's memory.
  let outside: Set<Int>
  /// Of each operation so far, bytes of weights.
  private(set) var weightBytes: [Int] = []
  /// Where blocks of a product leave their sums.
  let workspace: UInt64
  var scratch = LayerScratch()
  /// Whose slots are sorted by expert.
  var sortedRouting: ValueID?

  private struct Cache {
    var layout: cu_cache
    var byteCount: Int
  }

  init(
    _ program: Program, capacity: DeviceCapacity, kernels: KernelSet, loader: WeightLoader,
    configuration: CUDADeviceConfiguration, arena: DeviceArena, outside: Set<Int>
  ) {
    self.program = program
    self.capacity = capacity
    self.kernels = kernels
    self.loader = loader
    self.outside = outside
    var arena = arena
    step = arena.allocate(MemoryLayout<cu_step>.size, for: .buffers)
    expansion = configuration.expansion
    fusions = Fusion.all(of: program, expands: expansion != nil)
    code = Self.code(of: program, loader)
    values = ValuePlaces(
      program, fused: fusions.map(\.group), precision: loader.precision,
      capacity: capacity, keepsFloats: configuration.keepsFloats, arena: &arena)
    var caches: [Int: Cache] = [:]
    for (index, operation) in program.operations.enumerated() {
      guard let row = CacheRow(operation, configuration.cachePrecision) else { continue }
      let byteCount = row.byteCount * capacity.blockCount * capacity.blockTokens
      var layout = row.layout
      layout.rows = pointer(arena.allocate(byteCount, for: .cache))
      caches[index] = Cache(layout: layout, byteCount: byteCount)
    }
    self.caches = caches
    workspace = scratch.products(program, &arena)
    arranged = kernels.hasPrefill ? LayerScratch.arranged(program, capacity, &arena) : 0
    expandedMemory = expansion.map {
      ExpandedMemory(ExpandedShape(program.latentGroups), $0, capacity, &arena)
    }
    self.arena = arena
    quantizing = quantizingLaunches()
  }

  /// Lowers all operations; `progress` is told the bytes of weights loaded so far.
  mutating func run(progress: (Int) -> Void) throws(CUDAError) {
    try makeExpandedSteps()
    for (index, operation) in program.operations.enumerated() {
      list.beginOperation()
      arena.isOutside = outside.contains(index)
      let before = arena.weights.used + arena.outside.used
      try lower(operation, at: index)
      weightBytes.append(arena.weights.used + arena.outside.used - before)
      progress(loader.loadedBytes)
    }
    list.beginOperation()
    for fusion in fusions { fuse(fusion) }
  }

  private mutating func lower(_ operation: Operation, at index: Int) throws(CUDAError) {
    switch operation {
    case .embed(let op): try embed(op)
    case .rmsNorm(let op): try rmsNorm(op, at: index)
    case .linear(let op): try linear(op, at: index)
    case .headwiseLinear(let op): try headwiseLinear(op, at: index)
    case .rope(let op): try rope(op)
    case .attention(let op): try attention(op, at: index)
    case .latentAttention(let op): try latentAttention(op, at: index)
    case .route(let op): try route(op)
    case .experts(let op): try experts(op, at: index)
    case .swiglu(let op): swiglu(op)
    case .add(let op): add(op)
    case .join(let op): join(op)
    case .selectOutputs(let op): selectOutputs(op)
    }
  }

  func kept<T: BitwiseCopyable>(_ argument: T) -> UnsafeMutablePointer<T> {
    list.keep(argument).assumingMemoryBound(to: T.self)
  }

  // MARK: Places

  var stepPointer: UnsafePointer<cu_step>? { UnsafePointer(pointer(step)) }

  /// Of the attention that is the operation of this number.
  func cache(at index: Int) -> cu_cache { caches[index]?.layout ?? cu_cache() }

  /// Where keys and values are, and how many bytes.
  var cachePlaces: [(place: UInt64, byteCount: Int)] {
    caches.values.map { (UInt64(UInt(bitPattern: $0.layout.rows)), $0.byteCount) }
  }

  func space(of value: ValueID) -> RowSpace { program[value].rows }

  static func index(_ space: RowSpace) -> Int32 { space == .tokens ? 0 : 1 }

  func columns(_ columns: Columns) -> cu_columns {
    cu_columns(
      data: pointer((values.floats(columns.value) ?? 0) + UInt64(columns.offset * 4)),
      stride: Int64(values.stride(columns.value)), group: Int32(columns.stride),
      count: Int32(columns.count), width: Int32(columns.width), unused: 0)
  }

  func floats(_ value: ValueID) -> UnsafeMutablePointer<Float>? {
    values.floats(value).flatMap { pointer($0) }
  }

  /// As products read it.
  func narrow(_ value: ValueID) -> UnsafePointer<UInt16>? {
    values.narrow(value).flatMap { UnsafePointer(pointer($0)) }
  }

  /// Where an operation writes a value, in each form that it has.
  func rows(_ value: ValueID) -> cu_rows {
    cu_rows(
      floats: floats(value), narrow: values.narrow(value).flatMap { pointer($0) },
      stride: stride(value))
  }

  func stride(_ value: ValueID) -> Int64 { Int64(values.stride(value)) }

  func knownAngles(_ table: RopeTable) -> UInt64? { angles[table] }

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
