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
  private(set) var phases = PhaseList()
  /// The same, but neighbouring linears of one input are one phase.
  private(set) var fusedPhases = PhaseList()
  /// What a step begins with: the angles of its positions.
  private(set) var beginPhases: [ck_phase] = []
  private var angles: [RopeTable: UnsafeMutablePointer<ck_angles>] = [:]
  private var caches: [CacheID: ck_cache] = [:]
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
    values = try ValueMemory(program, capacity: capacity, arena: arena)
  }

  /// Lowers all operations; `progress` is told the bytes of weights loaded so far.
  mutating func run(progress: (Int) -> Void) throws(DeviceError) {
    var index = 0
    while index < program.operations.count {
      let group = linearGroup(from: index)
      if group.count > 1 {
        try lowerLinears(group)
      } else {
        fusedPhases.beginOperation()
        phases.beginOperation()
        try lower(program.operations[index])
      }
      index = group.upperBound
      progress(packer.loadedBytes)
    }
    fusedPhases.beginOperation()
    phases.beginOperation()
  }

  private mutating func lower(_ operation: Operation) throws(DeviceError) {
    switch operation {
    case .embed(let op): try embed(op)
    case .rmsNorm(let op): try rmsNorm(op)
    case .linear(let op): try multiply(gemms([linear(op)]))
    case .headwiseLinear(let op): try headwiseLinear(op)
    case .rope(let op): try rope(op)
    case .attention(let op): try attention(op)
    case .latentAttention(let op): try latentAttention(op)
    case .route(let op): try route(op)
    case .experts(let op): try experts(op)
    case .swiglu(let op): try swiglu(op)
    case .add(let op): try add(op)
    case .join(let op): try join(op)
    case .selectOutputs(let op): try selectOutputs(op)
    }
  }

  /// Adds a phase to both lists; `arguments` are copied to where they stay.
  mutating func append<T: BitwiseCopyable>(
    _ kernel: ck_kernel, _ arguments: T
  ) throws(DeviceError) {
    let phase = try phase(kernel, arguments)
    phases.append(phase)
    fusedPhases.append(phase)
  }

  private func phase<T: BitwiseCopyable>(
    _ kernel: ck_kernel, _ arguments: T
  ) throws(DeviceError) -> ck_phase {
    let place = try arena.allocate(T.self, count: 1)
    place.initialize(to: arguments)
    return ck_phase(kernel: kernel, arguments: UnsafeRawPointer(place))
  }

  mutating func reserveScratch(_ floats: Int) { scratchFloats = max(scratchFloats, floats) }

  // MARK: Products

  /// Neighbouring linears that read one value and write different memory.
  private func linearGroup(from index: Int) -> Range<Int> {
    guard case .linear(let first) = program.operations[index] else { return index..<index + 1 }
    var end = index + 1
    var buffers: Set = [values.floats(first.output)]
    while end < program.operations.count, case .linear(let next) = program.operations[end],
      next.input == first.input, buffers.insert(values.floats(next.output)).inserted
    {
      end += 1
    }
    return index..<end
  }

  private mutating func lowerLinears(_ group: Range<Int>) throws(DeviceError) {
    var products: [ck_gemm] = []
    for index in group {
      guard case .linear(let op) = program.operations[index] else { continue }
      products.append(try linear(op))
      phases.beginOperation()
      phases.append(contentsOf: try productPhases(gemms(products.suffix(1))))
    }
    fusedPhases.beginOperation()
    fusedPhases.append(contentsOf: try productPhases(gemms(products[...])))
    for _ in group.dropFirst() { fusedPhases.continueOperation() }
  }

  private mutating func linear(_ op: Linear) throws(DeviceError) -> ck_gemm {
    var product = try product(
      try packer.matrix(op.weight), from: values.columns(Columns(op.input, width: 0)),
      to: values.columns(Columns(op.output, width: 0)), rows: rows(of: op.output))
    if let bias = op.bias { product.bias = try packer.floats(bias) }
    return product
  }

  /// Adds the phases of independent products to both lists; see `productPhases`.
  mutating func multiply(
    _ products: ck_gemms, rows: UnsafePointer<Int64>? = nil, repeat count: Int = 1
  ) throws(DeviceError) {
    let added = try productPhases(products, rows: rows, repeat: count)
    phases.append(contentsOf: added)
    fusedPhases.append(contentsOf: added)
  }

  /// One phase of independent products and, where some take codes, one before it that makes these
  /// of the input. They have one input then, of `rows * count` rows; nil: of the products' rows.
  private func productPhases(
    _ products: ck_gemms, rows: UnsafePointer<Int64>? = nil, repeat count: Int = 1
  ) throws(DeviceError) -> [ck_phase] {
    let phases = [try phase(kernels.gemms, products)]
    let all = UnsafeBufferPointer(start: products.products, count: Int(products.count))
    guard let product = all.first(where: { $0.codes.codes != nil }) else { return phases }
    let quantization = ck_quantize(
      rows: rows ?? product.rows, repeat: Int64(count), input: product.input,
      input_stride: product.input_stride, width: product.inner, codes: product.codes,
      powers_of_two: packer.scalesArePowersOfTwo ? 1 : 0)
    let isFloat8 = product.type == CK_FP8
    let first =
      isFloat8
      ? try phase(ck_run_quantize_fp8, quantization) : try phase(kernels.quantize, quantization)
    return [first] + phases
  }

  func gemms(_ products: ArraySlice<ck_gemm>) throws(DeviceError) -> ck_gemms {
    let place = try arena.allocate(ck_gemm.self, count: products.count)
    for (index, product) in products.enumerated() { place[index] = product }
    let panels = products.reduce(0) { $0 + PackedMatrix.panelCount(Int($1.columns)) }
    // Large enough for full register tiles, small enough that threads end together.
    let unit = min(Int(CK_UNIT_PANELS), max(1, panels / (4 * threadCount)))
    return ck_gemms(
      products: UnsafePointer(place), count: Int64(products.count), unit_panels: Int64(unit))
  }

  func product(
    _ matrix: PackedMatrix, from input: ck_columns, to output: ck_columns,
    rows: UnsafePointer<Int64>
  ) throws(DeviceError) -> ck_gemm {
    var product = ck_gemm()
    if matrix.takesCodes {
      product.codes = try scratch.codes(in: self)
      product.codes.group_count = Int64(LayerScratch.codeGroupCount(matrix.inner))
    }
    product.rows = rows
    product.input = UnsafePointer(input.data)
    product.input_stride = input.stride
    product.output = output.data
    product.output_stride = output.stride
    product.panels = matrix.panels
    product.scales = matrix.scales
    product.factors = matrix.factors
    product.type = matrix.type
    product.inner = Int64(matrix.inner)
    product.columns = Int64(matrix.columns)
    return product
  }

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
