// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program
internal import Support

/// Brings weights into the forms that kernels use: as floats through pinned memory to the GPU,
/// which packs them. While the arena is laid out it takes places and copies nothing.
final class WeightLoader {
  /// What is on its way at once.
  private static let stagingBytes = 32 << 20
  /// Of the GPU's memory, while it loads; more where a weight must come whole.
  static let deviceBytes = 2 * stagingBytes
  /// Rows packed together: whole tiles and whole blocks of FP8.
  private static let rowUnit = 128

  let source: any WeightSource
  let precision: CUDAPrecision
  let gpu: GPU
  let kernels: KernelSet
  private(set) var loadedBytes = 0
  private var loadedNames: Set<String> = []
  /// How matrices are kept, but those of single heads.
  private(set) var formatsInUse: Set<String> = []
  private var staging: Staging?

  /// Pinned memory, two halves by turns, and memory of the GPU where it is packed from.
  private struct Staging {
    var memory: [UnsafeMutableRawBufferPointer]
    var fences: [GPU.Fence]
    var turn = 0
    /// Elements, then scales.
    var device: UInt64
    var byteCount: Int
  }

  init(_ gpu: GPU, kernels: KernelSet, source: any WeightSource, precision: CUDAPrecision) {
    self.gpu = gpu
    self.kernels = kernels
    self.source = source
    self.precision = precision
  }

  /// Gives back what is needed only while loading.
  func finish() throws(CUDAError) {
    try gpu.synchronize()
    guard let staging else { return }
    for memory in staging.memory { try gpu.freePinned(memory) }
    try gpu.free(staging.device)
    self.staging = nil
  }

  // MARK: Weights

  /// All elements as floats.
  func floats(_ weight: Weight, _ arena: inout DeviceArena) throws(CUDAError) -> UInt64 {
    let address = arena.allocate(weight.elementCount * 4, for: .weights)
    if !arena.fillsWeights { return address }
    try copyFloats(of: try tensor(weight), to: address)
    return address
  }

  /// Numbers that no checkpoint holds.
  func constants(_ values: [Float], _ arena: inout DeviceArena) throws(CUDAError) -> UInt64 {
    let address = arena.allocate(values.count * 4, for: .buffers)
    if arena.isLayout { return address }
    let start = try nextStaging(values.count * 4)
    let floats = start.assumingMemoryBound(to: Float.self)
    for (index, value) in values.enumerated() { floats[index] = value }
    try gpu.copyIn(to: address, from: start, byteCount: values.count * 4)
    try recordStaging()
    return address
  }

  /// A table of rows: bfloat16 where stored so, else floats.
  func table(
    _ weight: Weight, _ arena: inout DeviceArena
  ) throws(CUDAError) -> (address: UInt64, isBF16: Bool) {
    let tensor = try tensor(weight)
    let isBF16 = tensor.type == .bfloat16
    let address = arena.allocate(weight.elementCount * (isBF16 ? 2 : 4), for: .weights)
    if !arena.fillsWeights { return (address, isBF16) }
    if isBF16 {
      try eachChunk(of: tensor, rows: 0..<weight.rows) { (first, count) throws(CUDAError) in
        let elements = count * weight.columns
        let argument = cu_narrow(
          source: UnsafePointer(pointer(self.deviceStaging)),
          destination: pointer(address + UInt64(first * weight.columns * 2)),
          count: Int64(elements))
        try self.launch(self.kernels.narrow, threads: elements, argument)
      }
    } else {
      try copyFloats(of: tensor, to: address)
    }
    return (address, isBF16)
  }

  /// Whole weights of one shape, as `input · weightᵀ` needs them, behind each other.
  func matrices(
    _ weights: [Weight], _ arena: inout DeviceArena, isHead: Bool = false
  ) throws(CUDAError) -> GPUMatrix {
    var tensors: [StoredTensor] = []
    for weight in weights {
      check(weight.shape == weights[0].shape, "\(weight) is shaped unlike \(weights[0])")
      tensors.append(try tensor(weight, forProducts: true))
    }
    try checkCodes(tensors[0])
    let layout = MatrixLayout(
      format: MatrixLayout.format(ofAll: tensors, isHead ? precision.ofHead : precision),
      rows: weights[0].rows, columns: weights[0].columns)
    if arena.isLayout { formatsInUse.insert(layout.name) }
    let matrix = allocate(layout, count: weights.count, &arena)
    if !arena.fillsWeights { return matrix }
    for (index, tensor) in tensors.enumerated() {
      if cu_has_zeros(layout.format) != 0, let source = CalibratedMatrix(tensor) {
        try packCodes(source, matrix, index)
        count(tensor)
      } else {
        try pack(tensor, rows: 0..<layout.rows, transposed: false, matrix, index)
      }
    }
    return matrix
  }

  /// The matrices of all heads, in order, each `[output width, input width]`.
  func headMatrices(
    _ op: HeadwiseLinear, _ arena: inout DeviceArena
  ) throws(CUDAError) -> GPUMatrix {
    let tensor = try tensor(op.weight)
    let transposed = op.direction == .rowsToColumns
    let (rows, columns) = (op.rows.count, op.weight.columns)
    let layout = MatrixLayout(
      format: cu_format_bf16, rows: transposed ? columns : rows,
      columns: transposed ? rows : columns)
    let matrix = allocate(layout, count: op.input.count, &arena)
    if !arena.fillsWeights { return matrix }
    for head in 0..<op.input.count {
      let first = head * op.rowsPerHead + op.rows.lowerBound
      try pack(tensor, rows: first..<first + rows, transposed: transposed, matrix, head)
    }
    return matrix
  }

  private func allocate(
    _ layout: MatrixLayout, count: Int, _ arena: inout DeviceArena
  ) -> GPUMatrix {
    GPUMatrix(
      layout: layout, codes: arena.allocate(layout.codeBytes * count, for: .weights),
      scales: layout.scaleBytes == 0
        ? 0 : arena.allocate(layout.scaleBytes * count, for: .weights), count: count)
  }

  private func tensor(
    _ weight: Weight, forProducts: Bool = false
  ) throws(CUDAError) -> StoredTensor {
    do throws(WeightError) {
      let tensor = forProducts ? try source.matrix(weight) : try source.tensor(weight)
      guard forProducts || tensor.panels == nil else {
        throw WeightError("tensor \(weight.name) is packed, expected its elements")
      }
      return tensor
    } catch {
      throw CUDAError(.failedPrecondition, error.message)
    }
  }

  /// Codes are never quantised again.
  private func checkCodes(_ tensor: StoredTensor) throws(CUDAError) {
    let isCalibrated = tensor.codes != nil || tensor.panels.map { $0.factors != .scales } ?? false
    if isCalibrated {
      if precision == .auto || precision == .bf16 { return }
      throw CUDAError(
        .failedPrecondition,
        "tensor \(tensor.weight.name) has codes that were calibrated; expected precision auto or "
          + "bf16, not \(precision.rawValue)")
    }
    guard let panels = tensor.panels, precision != .auto else { return }
    let packed: CUDAPrecision = panels.bits == 8 ? .w8 : .w4
    let isMultipliedSo = packed == precision || (packed == .w8 && precision == .w8a8)
    guard !isMultipliedSo else { return }
    throw CUDAError(
      .failedPrecondition,
      "the checkpoint is packed as \(packed.rawValue); expected precision auto or "
        + "\(packed.rawValue), not \(precision.rawValue)")
  }

  // MARK: Packing

  private func pack(
    _ tensor: StoredTensor, rows: Range<Int>, transposed: Bool, _ matrix: GPUMatrix, _ index: Int
  ) throws(CUDAError) {
    let layout = matrix.layout
    var argument = cu_pack()
    argument.codes = pointer(matrix.codes + UInt64(index * layout.codeBytes))
    argument.scales = UnsafeMutableRawPointer(
      pointer(matrix.scales + UInt64(index * layout.scaleBytes), to: UInt8.self))
    argument.row_stride = Int64(transposed ? 1 : tensor.weight.columns)
    argument.column_stride = Int64(transposed ? tensor.weight.columns : 1)
    argument.columns = Int32(layout.columns)
    argument.padded_columns = Int32(layout.paddedColumns)
    argument.group = Int32(layout.group)
    argument.format = Int32(layout.format.rawValue)
    try eachChunk(of: tensor, rows: rows, isWhole: transposed) { (first, count) throws(CUDAError) in
      argument.source = UnsafePointer(pointer(self.deviceStaging))
      argument.first_row = transposed ? 0 : Int32(first)
      argument.rows = Int32(transposed ? layout.rows : count)
      if cu_has_block_scales(layout.format) != 0 { try self.prepareBlocks(of: tensor, &argument) }
      let packedRows = (Int(argument.rows) + MatrixLayout.tileRows - 1) / MatrixLayout.tileRows
      try self.launch(
        self.kernels.pack, threads: packedRows * MatrixLayout.tileRows * layout.spans, argument)
    }
  }

  /// The stored scales of FP8, or those of what lies in the staging memory.
  private func prepareBlocks(
    of tensor: StoredTensor, _ argument: inout cu_pack
  ) throws(CUDAError) {
    let place = deviceStaging + UInt64(staging?.byteCount ?? 0) / 2
    argument.block_scales = UnsafePointer(pointer(place))
    if MatrixLayout.takesBlocks(of: tensor), let scales = tensor.scales {
      argument.block_rows = Int32(scales.blockRows)
      argument.block_columns = Int32(scales.blockColumns)
      argument.blocks_per_row = Int32(scales.blocksPerRow)
      return
    }
    let blocks = (Int(argument.columns) + 127) / 128
    argument.block_rows = 128
    argument.block_columns = 128
    argument.blocks_per_row = Int32(blocks)
    var measure = argument
    measure.scales = UnsafeMutableRawPointer(pointer(place, to: UInt8.self))
    try gpu.launch(
      kernels.packBlockScales, x: blocks, y: (Int(argument.rows) + 127) / 128, with: measure)
  }

  func launch<Argument: BitwiseCopyable>(
    _ kernel: GPU.Kernel, threads: Int, _ argument: Argument
  ) throws(CUDAError) {
    let blockThreads = cu_threads
    try gpu.launch(kernel, x: (threads + blockThreads - 1) / blockThreads, with: argument)
  }

  // MARK: Copies

  var deviceStaging: UInt64 { staging?.device ?? 0 }

  /// Pinned memory whose last copy is done.
  func nextStaging(_ byteCount: Int) throws(CUDAError) -> UnsafeMutableRawPointer {
    try reserveStaging(byteCount)
    guard var current = staging, let start = current.memory[1 - current.turn].baseAddress else {
      throw CUDAError(.internal, "no memory to load weights through")
    }
    current.turn = 1 - current.turn
    staging = current
    try gpu.wait(for: current.fences[current.turn])
    return start
  }

  /// Room for elements in the first half of each piece, and for scales in the second.
  private func reserveStaging(_ byteCount: Int) throws(CUDAError) {
    if let staging, staging.byteCount >= 2 * byteCount { return }
    try finish()
    let size = 2 * max(byteCount, Self.stagingBytes)
    var memory: [UnsafeMutableRawBufferPointer] = []
    var fences: [GPU.Fence] = []
    for _ in 0..<2 {
      memory.append(try gpu.allocatePinned(size))
      fences.append(try gpu.makeFence())
    }
    staging = Staging(
      memory: memory, fences: fences, device: try gpu.allocate(size), byteCount: size)
  }

  func recordStaging() throws(CUDAError) {
    if let staging { try gpu.record(staging.fences[staging.turn]) }
  }

  private func copyFloats(of tensor: StoredTensor, to address: UInt64) throws(CUDAError) {
    let columns = tensor.weight.columns
    for chunk in chunks(of: tensor, rows: 0..<tensor.weight.rows, isWhole: false) {
      let byteCount = chunk.count * columns * 4
      let start = try nextStaging(byteCount)
      tensor.dequantize(rows: chunk, into: start.assumingMemoryBound(to: Float.self))
      try gpu.copyIn(
        to: address + UInt64(chunk.lowerBound * columns * 4), from: start, byteCount: byteCount)
      try recordStaging()
    }
    count(tensor)
  }

  /// Copies rows to the GPU's staging memory, some at a time (all, if `isWhole`), and calls `body`
  /// with the first of them, counted from `rows`, and how many they are.
  private func eachChunk(
    of tensor: StoredTensor, rows: Range<Int>, isWhole: Bool = false,
    _ body: (_ first: Int, _ count: Int) throws(CUDAError) -> Void
  ) throws(CUDAError) {
    let columns = tensor.weight.columns
    let scales = MatrixLayout.takesBlocks(of: tensor) ? tensor.scales?.values ?? [] : []
    for chunk in chunks(of: tensor, rows: rows, isWhole: isWhole) {
      let byteCount = chunk.count * columns * 4
      let start = try nextStaging(max(byteCount, scales.count * 4))
      tensor.dequantize(rows: chunk, into: start.assumingMemoryBound(to: Float.self))
      try gpu.copyIn(to: deviceStaging, from: start, byteCount: byteCount)
      if !scales.isEmpty {
        let half = (staging?.byteCount ?? 0) / 2
        let place = (start + half).assumingMemoryBound(to: Float.self)
        for (index, value) in scales.enumerated() { place[index] = value }
        try gpu.copyIn(
          to: deviceStaging + UInt64(half), from: place, byteCount: scales.count * 4)
      }
      try recordStaging()
      try body(chunk.lowerBound - rows.lowerBound, chunk.count)
    }
    count(tensor)
  }

  private func chunks(
    of tensor: StoredTensor, rows: Range<Int>, isWhole: Bool
  ) -> [Range<Int>] {
    let fitting = Self.stagingBytes / max(1, tensor.weight.columns * 4)
    let size = isWhole ? rows.count : max(Self.rowUnit, fitting / Self.rowUnit * Self.rowUnit)
    return stride(from: rows.lowerBound, to: rows.upperBound, by: max(1, size)).map {
      $0..<min(rows.upperBound, $0 + size)
    }
  }

  private func count(_ tensor: StoredTensor) {
    if loadedNames.insert(tensor.weight.name).inserted { loadedBytes += tensor.bytes.count }
  }
}
