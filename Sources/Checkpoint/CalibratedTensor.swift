// SPDX-License-Identifier: Apache-2.0

internal import Program

/// Finds the parts of one weight that was calibrated, and says how they belong together. All is
/// read where it lies; only what config.json leaves open is derived from the shapes.
struct CalibratedTensor {
  /// AWQ's order: the half byte of a word in which each of eight columns is.
  private static let awqOrder: UInt32 = 0x7362_5140

  let checkpoint: Checkpoint
  let format: CalibratedFormat
  let weight: Weight
  /// The weight's name without `.weight`.
  private let module: String
  /// What keeps the parts mapped.
  private var owners: [any AnyObject & Sendable] = []
  private var rows: Int { weight.rows }
  private var columns: Int { weight.columns }

  /// Nil for what is never stored in codes.
  init?(_ weight: Weight, _ format: CalibratedFormat, in checkpoint: Checkpoint) {
    guard weight.shape.count == 2, let module = Self.module(weight.name) else { return nil }
    self.checkpoint = checkpoint
    self.format = format
    self.weight = weight
    self.module = module
  }

  /// The name of a weight's module; nil for the name of something else.
  private static func module(_ name: String) -> String? {
    let suffix = ".weight"
    return name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : nil
  }

  /// The name of the tensor that has the codes of a weight, where these are packed in words.
  static func codesName(_ weight: String, _ format: CalibratedFormat) -> String? {
    module(weight).map {
      $0 + (format.method == .compressedTensors ? ".weight_packed" : ".qweight")
    }
  }

  /// The codes; nil where the weight is stored as floats.
  mutating func tensor() throws(WeightError) -> StoredTensor? {
    let name = Self.codesName(weight.name, format) ?? ""
    let isPacked = checkpoint.holds(name)
    let codes: StoredCodes
    switch format.method {
    case .compressedTensors:
      guard isPacked || checkpoint.type(of: weight.name) == .i8 else { return nil }
      codes = try isPacked ? packedAlongColumns(name) : plainBytes()
    case .gptq(let version):
      guard isPacked else { return nil }
      codes = try packedAlongInner(name, zeroBias: version == 1 ? 1 : 0)
    case .awq:
      guard isPacked else { return nil }
      codes = try packedAlongOuter(name)
    }
    return StoredTensor(weight: weight, codes: codes, owner: Owners(owners))
  }

  /// The scales of an FP8 weight of compressed-tensors: for all of it, for each row or each block.
  mutating func float8Scales() throws(WeightError) -> BlockScales {
    let part = try part("weight_scale", [.f32, .bf16, .f16])
    let count = part.shape.reduce(1, *)
    let shape = part.shape == [rows] ? [rows, 1] : count == 1 ? [1, 1] : part.shape
    let blocks = [[rows, columns], [1, columns]] + format.blocks
    guard let block = blocks.first(where: { grid($0) == shape }) else {
      throw part.wrongShape(expected: blocks.map(grid))
    }
    let stored = StoredTensor(
      weight: Weight(part.name, [count]), type: part.type.elementType ?? .float32,
      bytes: part.bytes, scales: nil, owner: part.owner)
    return BlockScales(
      blockRows: block[0], blockColumns: block[1], blocksPerRow: grid(block)[1],
      values: stored.dequantized())
  }

  private func grid(_ block: [Int]) -> [Int] {
    [(rows + block[0] - 1) / block[0], (columns + block[1] - 1) / block[1]]
  }

  // MARK: Layouts

  /// compressed-tensors, `pack-quantized`: `weight_packed` `[rows, words]`.
  private mutating func packedAlongColumns(_ name: String) throws(WeightError) -> StoredCodes {
    let part = try part(name: name, [.i32])
    let fitting = format.bits.map { ($0, [rows, (columns * $0 + 31) / 32]) }
    guard let (bits, shape) = fitting.first(where: { $0.1 == part.shape }) else {
      throw part.wrongShape(expected: fitting.map(\.1))
    }
    try checkShape()
    let codes = IntegerGrid(
      part.bytes, bits: bits, rowStride: shape[1] * 8, columnStride: 8, columnsPerWord: 32 / bits)
    return try rowwise(codes, bits: bits)
  }

  /// compressed-tensors, `int-quantized`: `weight` `[rows, columns]` of I8.
  private mutating func plainBytes() throws(WeightError) -> StoredCodes {
    let part = try part("weight", [.i8], weight.shape)
    let codes = IntegerGrid(
      part.bytes, bits: 8, rowStride: columns * 2, columnStride: 2, bias: 128)
    return try rowwise(codes, bits: 8)
  }

  /// With the scales and zeros of compressed-tensors, `[rows, groups]`.
  private mutating func rowwise(
    _ codes: IntegerGrid, bits: Int
  ) throws(WeightError) -> StoredCodes {
    let scale = try part("weight_scale", [.f16, .bf16, .f32])
    let isOne = scale.shape.reduce(1, *) == 1
    guard isOne || scale.shape == [rows] || scale.shape.count == 2 && scale.shape[0] == rows else {
      throw scale.wrongShape(expected: [[rows, 1]])
    }
    let count = scale.shape.count == 2 ? scale.shape[1] : 1
    let scales = ScaleGrid(
      scale.bytes, type: scale.type.elementType ?? .float32, rowStride: isOne ? 0 : count,
      groupStride: 1)
    return StoredCodes(
      bits: bits, codes: codes, zeros: try rowwiseZeros(bits: bits, groups: count),
      scales: scales, group: try group(count: count, of: scale),
      columnGroups: try columnGroups("weight_g_idx", count: count))
  }

  /// Absent where the codes are symmetric; packed along rows, or (older) I8, signed as the codes.
  private mutating func rowwiseZeros(
    bits: Int, groups: Int
  ) throws(WeightError) -> IntegerGrid? {
    let name = "\(module).weight_zero_point"
    guard checkpoint.holds(name) else { return nil }
    let part = try part(name: name, [.i32, .i8])
    if part.type == .i8 {
      guard part.shape == [rows, groups] || groups == 1 && [[rows], [1], []].contains(part.shape)
      else {
        throw part.wrongShape(expected: [[rows, groups]])
      }
      let isOne = part.bytes.count == 1
      return IntegerGrid(
        part.bytes, bits: 8, rowStride: isOne ? 0 : groups * 2, columnStride: isOne ? 0 : 2,
        bias: UInt8(1 << (bits - 1)), mask: UInt8((1 << bits) - 1))
    }
    let perWord = 32 / bits
    let shape = [(rows + perWord - 1) / perWord, groups]
    guard part.shape == shape else { throw part.wrongShape(expected: [shape]) }
    return IntegerGrid(
      part.bytes, bits: bits, rowStride: groups * 8, columnStride: 8, rowsPerWord: perWord)
  }

  /// GPTQ: `qweight` `[columns / n, rows]`, n columns in a word; `qzeros` `[groups, rows / n]`.
  private mutating func packedAlongInner(
    _ name: String, zeroBias: UInt8
  ) throws(WeightError) -> StoredCodes {
    let part = try part(name: name, [.i32])
    let bits = format.bits[0]
    let perWord = 32 / bits
    guard part.shape == [columns / perWord, rows], columns % perWord == 0, rows % perWord == 0
    else {
      throw part.wrongShape(expected: [[columns / perWord, rows]])
    }
    let codes = IntegerGrid(
      part.bytes, bits: bits, rowStride: 8, columnStride: rows * 8, columnsPerWord: perWord)
    return try groupwise(codes, bits: bits, zeroBias: zeroBias, order: nil)
  }

  /// AWQ: `qweight` `[columns, rows / 8]`, eight rows in a word; `qzeros` `[groups, rows / 8]`.
  private mutating func packedAlongOuter(_ name: String) throws(WeightError) -> StoredCodes {
    let part = try part(name: name, [.i32])
    guard part.shape == [columns, rows / 8], rows % 8 == 0 else {
      throw part.wrongShape(expected: [[columns, rows / 8]])
    }
    let codes = IntegerGrid(
      part.bytes, bits: 4, rowStride: 8, columnStride: rows, rowsPerWord: 8, order: Self.awqOrder)
    return try groupwise(codes, bits: 4, zeroBias: 0, order: Self.awqOrder)
  }

  /// With `scales` and `qzeros`, which begin with the groups.
  private mutating func groupwise(
    _ codes: IntegerGrid, bits: Int, zeroBias: UInt8, order: UInt32?
  ) throws(WeightError) -> StoredCodes {
    let scale = try part("scales", [.f16, .bf16, .f32])
    guard scale.shape.count == 2, scale.shape[1] == rows, scale.shape[0] > 0 else {
      let groups = format.groups.map { (columns + $0 - 1) / $0 }
      throw scale.wrongShape(expected: (groups.isEmpty ? [1] : groups).map { [$0, rows] })
    }
    let count = scale.shape[0]
    let group = try group(count: count, of: scale)
    let zero = try part("qzeros", [.i32], [count, rows * bits / 32])
    let zeros = IntegerGrid(
      zero.bytes, bits: bits, rowStride: 8, columnStride: rows * bits / 4, rowsPerWord: 32 / bits,
      order: order, bias: zeroBias)
    return StoredCodes(
      bits: bits, codes: codes, zeros: zeros,
      scales: ScaleGrid(
        scale.bytes, type: scale.type.elementType ?? .float32, rowStride: 1, groupStride: rows),
      group: group,
      columnGroups: try columnGroups("g_idx", count: count))
  }

  // MARK: Parts

  /// The size of a group, of which there are so many.
  private func group(count: Int, of scale: Checkpoint.Part) throws(WeightError) -> Int {
    if count == 1 { return columns }
    if let group = format.groups.first(where: { (columns + $0 - 1) / $0 == count }) { return group }
    throw WeightError(
      "\(scale.file): tensor \(scale.name) has scales for \(count) groups of \(columns) columns, "
        + "which are no groups of \(format.groups.isEmpty ? "whole rows" : "\(format.groups)")")
  }

  /// The groups of columns where they are not those of neighbours.
  private mutating func columnGroups(
    _ suffix: String, count: Int
  ) throws(WeightError) -> ColumnGroups? {
    guard checkpoint.holds("\(module).\(suffix)") else { return nil }
    let part = try part(suffix, [.i32], [columns])
    let groups = ColumnGroups(part.bytes)
    let size = count == 1 ? columns : format.groups.first { (columns + $0 - 1) / $0 == count }
    var areNeighbours = true
    for column in 0..<columns {
      guard (0..<count).contains(groups[column]) else {
        throw WeightError(
          "\(part.file): tensor \(part.name) holds \(groups[column]) for column \(column), "
            + "expected 0 to \(count - 1)")
      }
      areNeighbours = areNeighbours && groups[column] == column / (size ?? columns)
    }
    return areNeighbours ? nil : groups
  }

  /// `weight_shape` of compressed-tensors, where it is there.
  private mutating func checkShape() throws(WeightError) {
    let name = "\(module).weight_shape"
    guard checkpoint.holds(name) else { return }
    let part = try part(name: name, [.i64, .i32])
    var sizes: [Int] = []
    for start in stride(from: 0, to: part.bytes.count, by: part.type.bitCount / 8) {
      sizes.append(
        part.type == .i64
          ? Int(part.bytes.load(fromByteOffset: start, as: Int64.self))
          : Int(part.bytes.load(fromByteOffset: start, as: Int32.self)))
    }
    guard sizes == weight.shape else {
      throw WeightError("\(part.file): tensor \(name) holds \(sizes), expected \(weight.shape)")
    }
  }

  private mutating func part(
    _ suffix: String, _ types: [SafetensorsType], _ shape: [Int]? = nil
  ) throws(WeightError) -> Checkpoint.Part {
    let part = try part(name: "\(module).\(suffix)", types)
    if let shape, part.shape != shape { throw part.wrongShape(expected: [shape]) }
    return part
  }

  private mutating func part(
    name: String, _ types: [SafetensorsType]
  ) throws(WeightError) -> Checkpoint.Part {
    let part = try checkpoint.part(name)
    guard types.contains(part.type) else {
      let names = types.map(\.rawValue).joined(separator: ", ")
      throw WeightError(
        "\(part.file): tensor \(name) has dtype \(part.type.rawValue), expected \(names)")
    }
    owners.append(part.owner)
    return part
  }
}

/// Keeps several things.
private final class Owners: Sendable {
  private let all: [any AnyObject & Sendable]

  init(_ all: [any AnyObject & Sendable]) { self.all = all }
}
