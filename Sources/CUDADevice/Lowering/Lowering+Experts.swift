// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
internal import Program
internal import Support

/// Mixture of experts: the router sorts the rows' choices by expert, so that each expert's weights
/// are read once for up to 64 rows.
extension Lowering {
  mutating func route(_ op: Route) throws(CUDAError) {
    let experts = op.weight.rows
    guard experts <= cu_experts_max else {
      throw CUDAError(
        .unimplemented,
        "a layer has \(experts) experts; the CUDA device takes up to \(cu_experts_max)")
    }
    let groups = op.groups?.count ?? 0
    guard groups <= cu_expert_groups_max else {
      throw CUDAError(
        .unimplemented,
        "a layer's experts are in \(groups) groups; the CUDA device takes up to "
          + "\(cu_expert_groups_max)")
    }
    var argument = cu_route()
    argument.step = stepPointer
    argument.input = UnsafePointer(floats(op.input))
    argument.input_stride = stride(op.input)
    argument.weight = UnsafePointer(pointer(try loader.floats(op.weight, &arena)))
    if let bias = op.correctionBias {
      argument.bias = UnsafePointer(pointer(try loader.floats(bias, &arena)))
    }
    let memory = expertsMemory()
    argument.scores = pointer(memory.scores)
    argument.choices = pointer(values.floats(op.output) ?? 0)
    argument.order = pointer(memory.order)
    argument.work = pointer(memory.work)
    argument.masks = pointer(memory.masks)
    argument.arrivals = cu_step.arrivals(at: step)
    argument.inner = Int32(op.weight.columns)
    argument.experts = Int32(experts)
    argument.top_k = Int32(op.topK)
    argument.groups = Int32(groups)
    argument.kept_groups = Int32(op.groups?.kept ?? 0)
    argument.group_by_two_largest = op.groups?.score == .twoLargest ? 1 : 0
    argument.sigmoid = op.scoring == .sigmoid ? 1 : 0
    argument.normalize = op.normalize ? 1 : 0
    argument.scale = op.scale
    list.append(
      .route(
        RouteLaunch(
          kernels: kernels, argument: list.keep(argument), experts: experts, topK: op.topK)))
    sortedRouting = op.output
  }

  mutating func experts(_ op: Experts, at index: Int) throws(CUDAError) {
    // There is memory for one sorted routing.
    check(op.routing == sortedRouting, "experts follow their router before the next one")
    let topK = program[op.routing].width
    let memory = expertsMemory()
    let routing = values.floats(op.routing) ?? 0
    let choices: UnsafePointer<cu_choice>? = UnsafePointer(pointer(routing))
    try unit(op, topK, memory)
    let down = try loader.matrices(op.experts.map(\.down), &arena)
    var argument = product(down)
    let takesCodes = loader.precision.takesCodes
    argument.input = UnsafeRawPointer(
      pointer(takesCodes ? memory.unitCodes : memory.units, to: UInt8.self))
    argument.input_stride = Int64(
      takesCodes
        ? ValuePlaces.codedRowBytes(op.intermediateWidth)
        : ValuePlaces.padded(op.intermediateWidth))
    argument.parts.0.output.floats = pointer(memory.parts)
    argument.parts.0.output.stride = stride(op.output)
    let source = takesCodes ? unitSource(op, topK, memory) : nil
    append(&argument, down, topK, memory, source)
    let combine = cu_combine(
      step: stepPointer, choices: choices, parts: UnsafePointer(pointer(memory.parts)),
      parts_stride: stride(op.output), output: rows(op.output), top_k: Int32(topK),
      width: Int32(program[op.output].width))
    combinations[index] = combine
    let blocks = (Int(combine.width) + cu_combine_columns - 1) / cu_combine_columns
    list.append(
      .rows(kernels.combineExperts, list.keep(combine), .tokens, repeated: blocks))
  }

  private mutating func expertsMemory() -> LayerScratch.Experts {
    scratch.experts(
      program, rows: capacity.rowCountMax, takesCodes: loader.precision.takesCodes, &arena)
  }

  /// Gate and up of all experts, and the unit of both.
  private mutating func unit(
    _ op: Experts, _ topK: Int, _ memory: LayerScratch.Experts
  ) throws(CUDAError) {
    let gate = try loader.matrices(op.experts.map(\.gate), &arena)
    let up = try loader.matrices(op.experts.map(\.up), &arena)
    guard gate.layout.format == up.layout.format else {
      throw CUDAError(
        .unimplemented,
        "gates of experts are \(gate.layout.name), their other halves "
          + "\(up.layout.name); expected one format")
    }
    var argument = product(gate)
    setInput(op.input, of: &argument, gate.layout)
    argument.parts.1 = part(up)
    argument.part_count = 2
    argument.is_gated = 1
    let stride = Int64(ValuePlaces.padded(op.intermediateWidth))
    argument.parts.0.output.stride = stride
    argument.slots_per_row = Int32(topK)
    if loader.precision.takesCodes {
      argument.parts.0.output.floats = pointer(memory.units)
    } else {
      argument.parts.0.output.narrow = pointer(memory.units)
    }
    append(&argument, gate, topK, memory, floatSource(op.input, gate.layout))
  }

  /// What the units give, of which the last product's codes are made.
  private func unitSource(
    _ op: Experts, _ topK: Int, _ memory: LayerScratch.Experts
  ) -> FloatSource {
    let stride = Int64(ValuePlaces.padded(op.intermediateWidth))
    let codes = codedRows(pointer(memory.unitCodes), width: op.intermediateWidth)
    return FloatSource(
      floats: pointer(memory.units), stride: stride,
      quantize: quantize(
        pointer(memory.units), stride: stride, width: op.intermediateWidth, to: codes, .tokens,
        rowsEach: topK))
  }

  private func append(
    _ argument: inout cu_product, _ matrix: GPUMatrix, _ topK: Int,
    _ memory: LayerScratch.Experts, _ source: FloatSource?
  ) {
    argument.input_is_aligned = 1
    argument.order = UnsafePointer(pointer(memory.order))
    argument.work = UnsafePointer(pointer(memory.work))
    list.append(
      launch(
        argument, matrix.layout, .tokens, matrices: matrix.count, slotsPerRow: topK,
        takesMany: true, source: source))
  }
}
