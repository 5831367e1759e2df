// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program
internal import Support

/// Turns a program into phases: each operation's kernels with their arguments, all pointers
/// resolved, so that a step does nothing but run them.
struct Lowering {
  let program: Program
  let capacity: DeviceCapacity
  let kernels: ck_kernels
  let arena: Arena
  let memory: StepMemory
  let threadCount: Int
  private let cacheType: ck_type
  let values: ValueMemory
  let scratch = LayerScratch()
  var packer: WeightPacker
  /// The operations' phases, those of operation `i` from `starts[i]` on.
  var phases = PhaseList()
  /// The same, but some neighbours are one phase, and codes of a value are made once; see
  /// `Lowering+Fusion`.
  var fusedPhases = PhaseList()
  /// The codes in scratch memory while the fused phases run.
  var codes = CodesInScratch()
  /// By the operation that they begin with.
  private let fusedGroups: [Int: FusedGroup]
  let readerCounts: [ValueID: Int]
  /// Results of gated units.
  let gatedValues: Set<ValueID>
  /// What a step begins with: the angles of its positions.
  private(set) var beginPhases: [ck_phase] = []
  private var angles: [RopeTable: UnsafeMutablePointer<ck_angles>] = [:]
  private var caches: [CacheID: ck_cache] = [:]
  /// One for all attentions, which run one after the other; nil before the first.
  private var partials: UnsafeMutablePointer<ck_partials>?
  /// Floats of scratch memory that some kernel needs.
  private(set) var scratchFloats = 0

  init(
    _ program: Program, capacity: DeviceCapacity, kernels: ck_kernels, memory: StepMemory,
    packer: WeightPacker, cacheType: ck_type
  ) throws(DeviceError) {
    self.program = program
    self.capacity = capacity
    self.kernels = kernels
    self.memory = memory
    self.packer = packer
    self.cacheType = cacheType
    arena = packer.arena
    threadCount = packer.pool.threadCount
    let groups = FusedGroup.all(of: program)
    fusedGroups = Dictionary(uniqueKeysWithValues: groups.map { ($0.operations.lowerBound, $0) })
    readerCounts = program.readerCounts
    gatedValues = Set(
      program.operations.compactMap { operation in
        if case .swiglu(let op) = operation { op.output } else { nil }
      })
    values = try ValueMemory(
      program, fused: groups.map(\.operations), capacity: capacity, arena: arena)
  }

  /// Lowers all operations; `progress` is told the bytes of weights loaded so far.
  mutating func run(progress: (Int) -> Void) throws(DeviceError) {
    var index = 0
    while index < program.operations.count {
      index = try lower(at: index)
      progress(packer.loadedBytes)
    }
    beginOperation()
  }

  private mutating func beginOperation() {
    fusedPhases.beginOperation()
    phases.beginOperation()
  }

  /// Lowers an operation and those that are fused with it; returns where they end.
  private mutating func lower(at index: Int) throws(DeviceError) -> Int {
    if let group = fusedGroups[index] {
      try lower(group)
      return group.operations.upperBound
    }
    let operation = program.operations[index]
    if case .linear(let op) = operation { return try lowerLinears(op, from: index) }
    beginOperation()
    switch operation {
    case .embed(let op): try embed(op)
    case .rmsNorm(let op): try rmsNorm(op, at: index)
    case .linear: break  // above, with its neighbours
    case .headwiseLinear(let op): try headwiseLinear(op)
    case .rope(let op): try rope(op)
    case .attention(let op): try attention(op)
    case .latentAttention(let op): try latentAttention(op)
    case .route(let op): try route(op)
    case .experts(let op): try experts(op, at: index)
    case .swiglu(let op): try swiglu(op)
    case .add(let op): try add(op)
    case .join(let op): try join(op)
    case .selectOutputs(let op): try selectOutputs(op)
    }
    return index + 1
  }

  /// Adds a phase to both lists; `arguments` are copied to where they stay.
  mutating func append<T: BitwiseCopyable>(
    _ kernel: ck_kernel, _ arguments: T
  ) throws(DeviceError) {
    append(try phase(kernel, arguments))
  }

  mutating func append(_ phase: ck_phase) {
    phases.append(phase)
    fusedPhases.append(phase)
  }

  func phase<T: BitwiseCopyable>(
    _ kernel: ck_kernel, _ arguments: T
  ) throws(DeviceError) -> ck_phase {
    ck_phase(kernel: kernel, arguments: UnsafeRawPointer(try place(arguments)))
  }

  /// Where a phase's arguments stay.
  func place<T: BitwiseCopyable>(_ arguments: T) throws(DeviceError) -> UnsafeMutablePointer<T> {
    let place = try arena.allocate(T.self, count: 1)
    place.initialize(to: arguments)
    return place
  }

  /// Where workers leave what parts of a context gave.
  mutating func attentionPartials() throws(DeviceError) -> UnsafeMutablePointer<ck_partials> {
    if let partials { return partials }
    let (floats, units) = (Int(CK_PARTIAL_FLOATS), Int(CK_PARTIAL_UNITS))
    let place = try place(
      ck_partials(
        floats: arena.allocate(Float.self, count: floats), count: Int64(floats),
        arrived: arena.allocate(Int64.self, count: units), unit_count: Int64(units)))
    partials = place
    return place
  }

  mutating func reserveScratch(_ floats: Int) { scratchFloats = max(scratchFloats, floats) }

  // MARK: Places

  func rows(of value: ValueID) -> UnsafePointer<Int64> {
    UnsafePointer(memory.counts + (program[value].rows == .tokens ? 0 : 1))
  }

  /// Keys and values of so many heads, in memory that is allocated when first asked for.
  mutating func cache(
    _ id: CacheID, heads: Int, keyWidth: Int, valueWidth: Int
  ) throws(DeviceError) -> ck_cache {
    if let known = caches[id] { return known }
    var cache = ck_cache()
    cache.type = cacheType
    cache.heads = Int64(heads)
    cache.key_width = Int64(keyWidth)
    cache.value_width = Int64(valueWidth)
    let groups = capacity.blockCount * Int(ck_block_groups(Int64(capacity.blockTokens)))
    let words = groups * heads * Int(ck_group_words(&cache))
    cache.words = try arena.allocate(UInt32.self, count: words + Int(CK_CACHE_PADDING))
    caches[id] = cache
    return cache
  }

  /// The angles of a table, computed once a step.
  mutating func angles(_ table: RopeTable) throws(DeviceError) -> UnsafePointer<ck_angles> {
    if let known = angles[table] { return UnsafePointer(known) }
    let pairs = table.inverseFrequencies.count
    let frequencies = try arena.allocate(Float.self, count: pairs)
    for (pair, frequency) in table.inverseFrequencies.enumerated() { frequencies[pair] = frequency }
    let place = try arena.allocate(ck_angles.self, count: 1)
    place.initialize(
      to: ck_angles(
        inverse_frequencies: frequencies, pairs: Int64(pairs), magnitude: table.magnitude,
        cosines: try arena.allocate(Float.self, count: capacity.rowCountMax * pairs),
        sines: try arena.allocate(Float.self, count: capacity.rowCountMax * pairs)))
    angles[table] = place
    beginPhases.append(ck_phase(kernel: ck_run_angles, arguments: UnsafeRawPointer(place)))
    return UnsafePointer(place)
  }
}
