// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program
internal import Support

/// Brings weights into the forms that kernels use, with all threads.
struct WeightPacker {
  let source: any WeightSource
  let precision: CPUPrecision
  let arena: Arena
  let pool: WorkerPool
  /// How the matrices so far are kept, but routers.
  private var typesInUse = PackedTypes()
  /// What keeps mapped tensors.
  private(set) var owners: [any AnyObject & Sendable] = []
  /// Tensors of which steps read some rows where they are mapped.
  private(set) var mappedTables: [StoredTensor] = []
  private(set) var loadedBytes = 0
  /// Of FP8 weights, and so of the activations they are multiplied with; one for a checkpoint.
  private(set) var scalesArePowersOfTwo = false
  private var loadedNames: Set<String> = []

  init(source: any WeightSource, precision: CPUPrecision, arena: Arena, pool: WorkerPool) {
    self.source = source
    self.precision = precision
    self.arena = arena
    self.pool = pool
  }

  /// What a person reads.
  var precisionInUse: String { typesInUse.description }
  /// Whether some matrix is multiplied in FP8.
  var usesFloat8: Bool { typesInUse.contains(CK_FP8) }

  /// A whole weight as `input · weightᵀ` needs it.
  mutating func matrix(
    _ weight: Weight, alwaysFloat32: Bool = false
  ) throws(DeviceError) -> PackedMatrix {
    let tensor = try tensor(weight, forProducts: !alwaysFloat32)
    if tensor.panels != nil { return try adopt(tensor) }
    let type = alwaysFloat32 ? CK_F32 : Self.type(of: tensor, precision)
    if type == CK_FP8 { return try float8(tensor) }
    return try pack(
      tensor, rows: 0..<weight.rows, transposed: false, as: type, countAs: !alwaysFloat32)
  }

  /// The matrices of all heads, in order.
  mutating func headMatrices(_ op: HeadwiseLinear) throws(DeviceError) -> [PackedMatrix] {
    let tensor = try tensor(op.weight)
    let type = Self.headType(of: tensor, precision)
    var matrices: [PackedMatrix] = []
    for head in 0..<op.input.count {
      let first = head * op.rowsPerHead + op.rows.lowerBound
      matrices.append(
        try pack(
          tensor, rows: first..<first + op.rows.count,
          transposed: op.direction == .rowsToColumns, as: type, countAs: true))
    }
    return matrices
  }

  /// All elements as f32.
  mutating func floats(_ weight: Weight) throws(DeviceError) -> UnsafePointer<Float> {
    let tensor = try tensor(weight)
    let floats = try arena.allocate(Float.self, count: weight.elementCount)
    tensor.dequantize(rows: 0..<weight.rows, into: floats)
    return UnsafePointer(floats)
  }

  /// The tensor as it is stored, kept mapped.
  mutating func stored(_ weight: Weight) throws(DeviceError) -> ck_tensor {
    let tensor = try tensor(weight)
    owners.append(tensor.owner)
    mappedTables.append(tensor)
    guard let scales = tensor.scales else { return tensor.description(scales: nil) }
    let values = try arena.allocate(Float.self, count: scales.values.count)
    for (index, value) in scales.values.enumerated() { values[index] = value }
    return tensor.description(scales: values)
  }

  /// How linears and experts are kept.
  static func type(of tensor: StoredTensor, _ precision: CPUPrecision) -> ck_type {
    switch precision {
    case .f32: CK_F32
    case .bf16: CK_BF16
    case .w8: CK_W8
    case .w4: CK_W4
    case .fp8: tensor.type == .float8e4m3 ? CK_FP8 : headType(of: tensor, .auto)
    case .auto:
      tensor.panels.map(PackedMatrix.type) ?? tensor.codes.map(PackedMatrix.type)
        ?? (tensor.type == .float32 ? CK_F32 : CK_BF16)
    }
  }

  /// How the small matrices of single heads are kept: never as codes. All heads read parts of one
  /// value, and codes are made of one input for all products of a phase.
  static func headType(of tensor: StoredTensor, _ precision: CPUPrecision) -> ck_type {
    let type = type(of: tensor, [.w8, .w4, .fp8].contains(precision) ? .auto : precision)
    return ck_takes_codes(type) == 0 ? type : CK_BF16
  }

  private mutating func tensor(
    _ weight: Weight, forProducts: Bool = false
  ) throws(DeviceError) -> StoredTensor {
    do throws(WeightError) {
      let tensor = forProducts ? try source.matrix(weight) : try source.tensor(weight)
      guard forProducts || tensor.panels == nil else {
        throw WeightError("tensor \(weight.name) is packed, expected its elements")
      }
      if loadedNames.insert(weight.name).inserted { loadedBytes += tensor.bytes.count }
      return tensor
    } catch {
      throw DeviceError(.failedPrecondition, error.message)
    }
  }

  /// Panels that were packed before, copied with all threads to where pages are huge.
  private mutating func adopt(_ tensor: StoredTensor) throws(DeviceError) -> PackedMatrix {
    guard let layout = tensor.panels, let stored = tensor.bytes.baseAddress else {
      throw DeviceError(.internal, "\(tensor.weight) has no panels")
    }
    let type = PackedMatrix.type(of: layout)
    let name = PackedTypes.name(type)
    guard precision == .auto || precision.rawValue == name else {
      let expected = layout.factors == .scales ? "auto or \(name)" : "auto"
      throw DeviceError(
        .failedPrecondition,
        "the checkpoint is packed as \(name); expected precision \(expected), not "
          + precision.rawValue)
    }
    let (inner, columns) = (layout.columns, layout.rows)
    let panelBytes = PackedMatrix.panelBytes(type, inner: inner, columns: columns)
    let scaleCount =
      layout.factors == .scales
      ? PackedMatrix.scaleCount(type, inner: inner, columns: columns)
      : PackedMatrix.factorCount(group: layout.group, inner: inner, columns: columns)
    check(
      layout.panelBytes == panelBytes && layout.scaleCount == scaleCount
        && layout.byteCount == tensor.bytes.count, "\(tensor.weight) lies in other panels")
    let copy = try arena.allocate(UInt8.self, count: layout.byteCount)
    pool.run(
      ck_run_copy, ck_copy(from: stored, to: copy, bytes: Int64(layout.byteCount)))
    typesInUse.insert(type)
    return PackedMatrix(layout, at: copy)
  }

  /// FP8 codes where they are mapped, and the scales of each row's groups.
  private mutating func float8(_ tensor: StoredTensor) throws(DeviceError) -> PackedMatrix {
    let (columns, inner) = (tensor.weight.rows, tensor.weight.columns)
    guard let codes = tensor.bytes.baseAddress, let scales = tensor.scales,
      scales.blockColumns == Int(CK_CODE_GROUP)
    else {
      throw DeviceError(
        .failedPrecondition,
        "tensor \(tensor.weight.name) has a scale for each "
          + "\(tensor.scales?.blockColumns ?? inner) columns; precision fp8 takes \(CK_CODE_GROUP)")
    }
    owners.append(tensor.owner)
    scalesArePowersOfTwo = scales.arePowersOfTwo
    let groups = scales.blocksPerRow
    let values = try arena.allocate(Float.self, count: columns * groups)
    for column in 0..<columns {
      for group in 0..<groups {
        values[column * groups + group] =
          scales.values[column / scales.blockRows * groups + group]
      }
    }
    typesInUse.insert(CK_FP8)
    return PackedMatrix(
      panels: codes, factors: ck_code_factors(scales: values, zeros: nil, group: 0), type: CK_FP8,
      inner: inner, columns: columns)
  }

  private mutating func pack(
    _ tensor: StoredTensor, rows: Range<Int>, transposed: Bool, as type: ck_type, countAs: Bool
  ) throws(DeviceError) -> PackedMatrix {
    let (inner, columns) =
      transposed ? (rows.count, tensor.weight.columns) : (tensor.weight.columns, rows.count)
    let panels = try arena.allocate(
      UInt8.self, count: PackedMatrix.panelBytes(type, inner: inner, columns: columns))
    var matrix = PackedMatrix(
      panels: UnsafeRawPointer(panels), type: type, inner: inner, columns: columns)
    if type == CK_INT8 || type == CK_INT4 {
      matrix.factors = try factors(of: tensor, inner: inner, columns: columns)
    } else {
      matrix.scales = UnsafePointer(
        try arena.allocate(
          UInt16.self, count: PackedMatrix.scaleCount(type, inner: inner, columns: columns)))
    }
    matrix.pack(tensor, rows: rows, transposed: transposed, pool: pool)
    if countAs { typesInUse.insert(type) }
    return matrix
  }

  /// Room for the scales and zeros of stored codes.
  private func factors(
    of tensor: StoredTensor, inner: Int, columns: Int
  ) throws(DeviceError) -> ck_code_factors {
    let group: Int
    do { group = try PackedMatrix.productGroup(of: tensor) } catch {
      throw DeviceError(.failedPrecondition, error.message)
    }
    let count = PackedMatrix.factorCount(group: group, inner: inner, columns: columns)
    return ck_code_factors(
      scales: try arena.allocate(Float.self, count: count),
      zeros: try arena.allocate(UInt8.self, count: count), group: Int64(group))
  }
}
