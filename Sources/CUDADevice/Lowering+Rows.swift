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
      output: floats(op.output), output_stride: stride(op.output), width: Int32(op.table.columns),
      table_is_bf16: table.isBF16 ? 1 : 0)
    list.append(.rows(kernels.embed, list.keep(argument), .tokens))
  }

  mutating func rmsNorm(_ op: RMSNorm) throws(CUDAError) {
    let weight = try loader.floats(op.weight, &arena)
    let space = space(of: op.output)
    let argument = cu_norm(
      step: stepPointer, input: columns(op.input), weight: UnsafePointer(pointer(weight)),
      output: floats(op.output), output_stride: stride(op.output), epsilon: op.epsilon,
      space: Self.index(space))
    list.append(.rows(kernels.rmsNorm, list.keep(argument), space))
  }

  mutating func linear(_ op: Linear) throws(CUDAError) {
    let matrix = try loader.matrices([op.weight], &arena)
    var argument = product(matrix)
    argument.input = UnsafePointer(floats(op.input))
    argument.input_stride = stride(op.input)
    argument.input_is_aligned = 1
    argument.output = floats(op.output)
    argument.output_stride = stride(op.output)
    if let bias = op.bias {
      argument.bias = UnsafePointer(pointer(try loader.floats(bias, &arena)))
    }
    append(argument, matrix, space(of: op.output))
  }

  mutating func headwiseLinear(_ op: HeadwiseLinear) throws(CUDAError) {
    let matrix = try loader.headMatrices(op, &arena)
    let input = columns(op.input)
    var argument = product(matrix)
    argument.input = UnsafePointer(input.data)
    argument.input_stride = input.stride
    argument.input_matrix = Int64(input.group)
    argument.input_is_aligned = op.input.offset % 4 == 0 && op.input.stride % 4 == 0 ? 1 : 0
    argument.output = floats(op.output)
    argument.output_stride = stride(op.output)
    argument.output_matrix = Int64(matrix.layout.rows)
    append(argument, matrix, space(of: op.output))
  }

  /// A product with a matrix, its input and output still to be filled in.
  func product(_ matrix: GPUMatrix) -> cu_product {
    let layout = matrix.layout
    var argument = cu_product()
    argument.step = stepPointer
    argument.codes = UnsafePointer(pointer(matrix.codes))
    argument.scales = UnsafeRawPointer(pointer(matrix.scales, to: UInt8.self))
    argument.codes_matrix = Int64(layout.codeBytes)
    argument.scales_matrix = Int64(layout.scaleBytes)
    argument.inner = Int32(layout.columns)
    argument.columns = Int32(layout.rows)
    argument.group = Int32(layout.group)
    argument.slots_per_row = 1
    return argument
  }

  func append(_ argument: cu_product, _ matrix: GPUMatrix, _ space: RowSpace) {
    var argument = argument
    argument.space = Self.index(space)
    list.append(
      .product(
        ProductLaunch(
          kernels: kernels.product(matrix.layout.format), argument: list.keep(argument),
          space: space, tiles: matrix.layout.tiles, matrices: matrix.count)))
  }

  mutating func rope(_ op: Rope) throws(CUDAError) {
    let argument = cu_rope(
      step: stepPointer, columns: columns(op.columns),
      angles: UnsafePointer(pointer(try angles(op.table))),
      interleaved: op.layout == .interleaved ? 1 : 0, unused: 0)
    list.append(.rows(kernels.rope, list.keep(argument), .tokens))
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
      output: floats(output), left_stride: stride(left), right_stride: stride(right),
      output_stride: stride(output), left_width: Int32(program[left].width),
      right_width: Int32(program[right].width), space: Self.index(space(of: output)), repeat: 1)
  }

  func selectOutputs(_ op: SelectOutputs) {
    let argument = cu_select(
      step: stepPointer, input: UnsafePointer(floats(op.input)), output: floats(op.output),
      input_stride: stride(op.input), output_stride: stride(op.output),
      width: Int32(program[op.output].width), unused: 0)
    list.append(.rows(kernels.selectOutputs, list.keep(argument), .outputs))
  }
}
