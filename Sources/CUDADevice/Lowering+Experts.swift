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
    let memory = scratch.experts(program, rows: capacity.rowCountMax, &arena)
    argument.scores = pointer(memory.scores)
    argument.choices = pointer(values.address(op.output))
    argument.order = pointer(memory.order)
    argument.starts = pointer(memory.starts)
    argument.masks = pointer(memory.masks)
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
      .route(RouteLaunch(kernels: kernels, argument: list.keep(argument), experts: experts)))
    sortedRouting = op.output
  }

  mutating func experts(_ op: Experts) throws(CUDAError) {
    // There is memory for one sorted routing.
    check(op.routing == sortedRouting, "experts follow their router before the next one")
    let topK = program[op.routing].width
    let memory = scratch.experts(program, rows: capacity.rowCountMax, &arena)
    let choices: UnsafePointer<cu_choice>? = UnsafePointer(pointer(values.address(op.routing)))
    let innerStride = ValuePlaces.padded(op.intermediateWidth)
    let input = (place: values.address(op.input), stride: values.stride(op.input))
    for (weights, output) in [
      (op.experts.map(\.gate), memory.gates), (op.experts.map(\.up), memory.ups),
    ] {
      try multiply(
        weights, from: input, slotsPerRow: topK, to: (output, innerStride), memory)
    }
    let width = Int32(op.intermediateWidth)
    let unit = cu_binary(
      step: stepPointer, left: UnsafePointer(pointer(memory.gates)),
      right: UnsafePointer(pointer(memory.ups)), output: pointer(memory.gates),
      left_stride: Int64(innerStride), right_stride: Int64(innerStride),
      output_stride: Int64(innerStride), left_width: width, right_width: width, space: 0,
      repeat: Int32(topK))
    list.append(.rows(kernels.swiglu, list.keep(unit), .tokens, repeated: topK))
    let outputStride = values.stride(op.output)
    try multiply(
      op.experts.map(\.down), from: (memory.gates, innerStride), slotsPerRow: 1,
      to: (memory.parts, outputStride), memory)
    let combine = cu_combine(
      step: stepPointer, choices: choices, parts: UnsafePointer(pointer(memory.parts)),
      parts_stride: Int64(outputStride), output: floats(op.output),
      output_stride: Int64(outputStride), top_k: Int32(topK),
      width: Int32(program[op.output].width))
    let blocks = (Int(combine.width) + cu_combine_columns - 1) / cu_combine_columns
    list.append(
      .rows(kernels.combineExperts, list.keep(combine), .tokens, repeated: blocks))
  }

  private mutating func multiply(
    _ weights: [Weight], from input: (place: UInt64, stride: Int), slotsPerRow: Int,
    to output: (place: UInt64, stride: Int), _ memory: LayerScratch.Experts
  ) throws(CUDAError) {
    let matrix = try loader.matrices(weights, &arena)
    var argument = product(matrix)
    argument.input = UnsafePointer(pointer(input.place))
    argument.input_stride = Int64(input.stride)
    argument.input_is_aligned = 1
    argument.output = pointer(output.place)
    argument.output_stride = Int64(output.stride)
    argument.order = UnsafePointer(pointer(memory.order))
    argument.starts = UnsafePointer(pointer(memory.starts))
    argument.slots_per_row = Int32(slotsPerRow)
    append(argument, matrix, .tokens)
  }
}
