// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// Operations whose rows know nothing of each other.
extension Lowering {
  mutating func embed(_ op: Embed) throws(CUDAError) {
    let table = try loader.table(op.table, &arena)
    let argument = cu_embed(
      step: stepPointer, table: UnsafeRawPointer(pointer(table.address, to: UInt8.self)),
      output: rows(op.output), width: Int32(op.table.columns),
      table_is_bf16: table.isBF16 ? 1 : 0)
    list.append(.rows(kernels.embed, list.keep(argument), .tokens))
  }

  mutating func rmsNorm(_ op: RMSNorm, at index: Int) throws(CUDAError) {
    let weight = try loader.floats(op.weight, &arena)
    let space = space(of: op.output)
    let argument = cu_norm(
      step: stepPointer, input: columns(op.input), weight: UnsafePointer(pointer(weight)),
      output: rows(op.output), codes: codedRows(op.output), epsilon: op.epsilon,
      space: Self.index(space))
    norms[index] = argument
    codedInPassing.insert(op.output)
    list.append(.rows(kernels.rmsNorm, list.keep(argument), space))
  }

  mutating func linear(_ op: Linear, at index: Int) throws(CUDAError) {
    let matrix = try loader.matrices([op.weight], &arena, isHead: program.isHead(op))
    var argument = product(matrix)
    setInput(op.input, of: &argument, matrix.layout)
    argument.parts.0.output = rows(op.output)
    if let bias = op.bias {
      argument.parts.0.bias = UnsafePointer(pointer(try loader.floats(bias, &arena)))
    }
    argument.space = Self.index(space(of: op.output))
    products[index] = (argument, matrix.layout)
    list.append(
      launch(
        argument, matrix.layout, space(of: op.output), takesMany: true,
        source: floatSource(op.input, matrix.layout)))
  }

  mutating func headwiseLinear(_ op: HeadwiseLinear, at index: Int) throws(CUDAError) {
    let matrix = try loader.headMatrices(op, &arena)
    var argument = product(matrix)
    argument.input = narrow(op.input.value).map { UnsafeRawPointer($0 + op.input.offset) }
    argument.input_stride = stride(op.input.value)
    argument.input_matrix = Int64(op.input.stride)
    argument.input_is_aligned = op.input.offset % 8 == 0 && op.input.stride % 8 == 0 ? 1 : 0
    argument.parts.0.output = rows(op.output)
    argument.output_matrix = Int64(matrix.layout.rows)
    headProducts[index] = (argument, matrix)
    try loadExpansion(at: index)
    list.append(.product(heads(argument, matrix, space(of: op.output))))
  }

  /// A product with the matrices of all heads.
  func heads(_ argument: cu_product, _ matrix: GPUMatrix, _ space: RowSpace) -> ProductLaunch {
    productLaunch(
      argument, matrix.layout, space, matrices: matrix.count,
      takesMany: argument.input_is_aligned == 1, areHeads: true)
  }

  /// A product with a matrix, its input and output still to be filled in.
  func product(_ matrix: GPUMatrix) -> cu_product {
    var argument = cu_product()
    argument.step = stepPointer
    argument.parts.0 = part(matrix)
    argument.part_count = 1
    argument.codes_matrix = Int64(matrix.layout.codeBytes)
    argument.scales_matrix = Int64(matrix.layout.scaleBytes)
    argument.inner = Int32(matrix.layout.columns)
    argument.slots_per_row = 1
    return argument
  }

  func part(_ matrix: GPUMatrix) -> cu_product_part {
    var part = cu_product_part()
    part.codes = UnsafePointer(pointer(matrix.codes))
    part.scales = UnsafeRawPointer(pointer(matrix.scales, to: UInt8.self))
    part.columns = Int32(matrix.layout.rows)
    part.tiles_end = Int32(matrix.layout.tiles)
    return part
  }

  func launch(
    _ argument: cu_product, _ layout: MatrixLayout, _ space: RowSpace, matrices: Int = 1,
    slotsPerRow: Int = 1, takesMany: Bool = false, source: FloatSource? = nil
  ) -> Launch {
    .product(
      productLaunch(
        argument, layout, space, matrices: matrices, slotsPerRow: slotsPerRow,
        takesMany: takesMany, source: source))
  }

  /// All parts have the layout of the first, but for their rows.
  func productLaunch(
    _ argument: cu_product, _ layout: MatrixLayout, _ space: RowSpace, matrices: Int = 1,
    slotsPerRow: Int = 1, takesMany: Bool = false, areHeads: Bool = false,
    source: FloatSource? = nil
  ) -> ProductLaunch {
    var argument = argument
    argument.workspace = pointer(workspace)
    let parts = [argument.parts.0, argument.parts.1, argument.parts.2]
    let isGated = argument.is_gated == 1
    let tiles = Int(parts[isGated ? 0 : Int(argument.part_count) - 1].tiles_end)
    let kept = cu_prefill(
      product: argument, arranged: pointer(arranged), work_count: 0, matrices: Int32(matrices))
    // Of a gated unit, a block has as many rows of the one as of the other.
    let tilesOfBlock = cu_prefill_rows / MatrixLayout.tileRows / (isGated ? 2 : 1)
    let prefill = areHeads ? kernels.prefillHeads : kernels.product(layout.format).prefill
    return ProductLaunch(
      kernels: kernels.product(layout.format), sumParts: kernels.sumParts,
      argument: list.keep(kept), space: space, tiles: tiles, isGated: isGated,
      matrices: matrices, slotsPerRow: slotsPerRow,
      prefill: !takesMany
        ? nil
        : prefill.map {
          PrefillLaunch(
            arrange: areHeads ? nil : kernels.arranger(layout.format), product: $0,
            spans: layout.spans, rowBlocks: (tiles + tilesOfBlock - 1) / tilesOfBlock,
            heads: areHeads ? matrices : 1)
        },
      floats: source.map {
        floatInput($0, of: kept, layout, tiles: tiles, matrices: slotsPerRow)
      })
  }

  mutating func rope(_ op: Rope) throws(CUDAError) {
    let argument = cu_rope(
      step: stepPointer, columns: columns(op.columns),
      turn: turn(op, angles: try angles(op.table)))
    list.append(.rows(kernels.rope, list.keep(argument), .tokens))
    guard values.narrow(op.columns.value) != nil, productsRead(op.columns) else { return }
    let copy = cu_narrow_rows(
      step: stepPointer, rows: rows(op.columns.value),
      width: Int32(program[op.columns.value].width), space: 0)
    list.append(.rows(kernels.narrowRows, list.keep(copy), .tokens))
  }

  func turn(_ op: Rope, angles: UInt64) -> cu_turn {
    cu_turn(
      angles: UnsafePointer(pointer(angles)), interleaved: op.layout == .interleaved ? 1 : 0,
      unused: 0)
  }

  /// Whether some product reads any of the columns.
  private func productsRead(_ columns: Columns) -> Bool {
    program.operations.contains { operation in
      switch operation {
      case .linear(let op): op.input == columns.value
      case .experts(let op): op.input == columns.value
      case .headwiseLinear(let op): op.input.value == columns.value && op.input.overlaps(columns)
      default: false
      }
    }
  }

  func swiglu(_ op: SwiGLU) {
    append(kernels.swiglu, binary(op.gate, op.up, op.output), space(of: op.output))
  }

  func add(_ op: Add) {
    append(kernels.add, binary(op.left, op.right, op.output), space(of: op.output))
  }

  func join(_ op: Join) {
    append(kernels.join, binary(op.left, op.right, op.output), space(of: op.output))
  }

  private func append(_ kernel: GPU.Kernel, _ argument: cu_binary, _ space: RowSpace) {
    list.append(.rows(kernel, list.keep(argument), space))
  }

  private func binary(_ left: ValueID, _ right: ValueID, _ output: ValueID) -> cu_binary {
    cu_binary(
      step: stepPointer, left: UnsafePointer(floats(left)), right: UnsafePointer(floats(right)),
      output: rows(output), left_stride: stride(left), right_stride: stride(right),
      left_width: Int32(program[left].width),
      right_width: Int32(program[right].width), space: Self.index(space(of: output)), unused: 0)
  }

  func selectOutputs(_ op: SelectOutputs) {
    let argument = cu_select(
      step: stepPointer, input: UnsafePointer(floats(op.input)), output: rows(op.output),
      input_stride: stride(op.input),
      width: Int32(program[op.output].width), unused: 0)
    list.append(.rows(kernels.selectOutputs, list.keep(argument), .outputs))
  }
}

extension Columns {
  /// Whether some column of one value is in both; may say yes where groups are laid out unlike.
  fileprivate func overlaps(_ other: Columns) -> Bool {
    guard stride == other.stride, count > 1 || other.count > 1 || stride == 0 else {
      return offset < other.offset + other.stride * (other.count - 1) + other.width
        && other.offset < offset + stride * (count - 1) + width
    }
    let (mine, others) = (offset % stride, other.offset % stride)
    return mine < others + other.width && others < mine + width
  }
}
