// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program

/// Mixture of experts: tokens are sorted by expert, so that each expert's weights are read once.
extension Lowering {
  mutating func route(_ op: Route) throws(DeviceError) {
    let experts = op.weight.rows
    let logits = try scratch.routing(in: self)
    let matrix = try packer.matrix(op.weight, alwaysFloat32: true)
    let bias = try op.correctionBias.map { (weight) throws(DeviceError) in
      try packer.floats(weight)
    }
    let rows = rows(of: op.output)
    let product = try product(
      matrix, from: values.columns(Columns(op.input, width: 0)),
      to: ck_columns(data: logits, stride: Int64(experts), group: 0, count: 1, width: 0),
      rows: rows)
    try append(kernels.gemms, gemms([product]))
    // Scores, candidates, marks, and the groups' scores and marks.
    reserveScratch(5 * experts)
    try append(
      ck_run_route,
      ck_route(
        rows: rows, logits: logits, bias: bias, experts: Int64(experts), top_k: Int64(op.topK),
        groups: Int64(op.groups?.count ?? 0), kept_groups: Int64(op.groups?.kept ?? 0),
        group_by_two_largest: op.groups?.score == .twoLargest ? 1 : 0,
        sigmoid: op.scoring == .sigmoid ? 1 : 0, normalize: op.normalize ? 1 : 0, scale: op.scale,
        choices: values.choices(op.output)))
  }

  mutating func experts(_ op: Experts, at index: Int) throws(DeviceError) {
    let topK = program[op.routing].width
    let width = program[op.output].width
    let memory = try scratch.experts(in: self)
    let counts = try arena.allocate(Int64.self, count: op.experts.count)
    let (gateUp, down) = try products(of: op, memory, counts: counts)
    let gated = try gated(gateUp)
    let opening = gated == nil ? try gemms(gateUp) : nil
    let closing = try gemms(down)
    let rows = rows(of: op.output)
    let choices = UnsafePointer(values.choices(op.routing))
    try append(
      ck_run_group,
      ck_group(
        rows: rows, choices: choices, experts: Int64(op.experts.count), top_k: Int64(topK),
        counts: counts, slots: memory.slots, slot_rows: memory.slotRows,
        gate_up: UnsafeMutablePointer(mutating: gated?.pointee.gate_up ?? opening?.products),
        down: UnsafeMutablePointer(mutating: closing.products)))
    if let product = gateUp.first(where: { $0.codes.codes != nil }) {
      phases.append(try quantization(of: product, rows: rows))
      try fuseInput(of: gateUp, op.input, rows: rows, at: index)
    }
    let inner = Int64(op.intermediateWidth)
    let coded = down.first { $0.codes.codes != nil }
    codes.overwrite(.gated, by: index)
    if let gated {
      if down.contains(where: { $0.codes.codes == nil }) {
        gated.pointee.output = memory.gates
        gated.pointee.output_stride = inner
      }
      if let coded { gated.pointee.codes = coded.codes }
      append(ck_phase(kernel: kernels.gated, arguments: gated))
    } else if let opening {
      try append(kernels.gemms, opening)
      try append(
        kernels.swiglu,
        ck_binary(
          rows: rows, repeat: Int64(topK), width: inner, left: memory.gates, right: memory.ups,
          output: memory.gates))
      if let coded { append(try quantization(of: coded, rows: rows, repeat: topK)) }
    }
    try append(kernels.gemms, closing)
    try append(
      kernels.combine,
      ck_combine(
        rows: rows, choices: choices, top_k: Int64(topK), width: Int64(width),
        parts: memory.parts, output: values.floats(op.output)))
  }

  /// Gate and up of each expert side by side, and down of each.
  private mutating func products(
    of op: Experts, _ memory: ExpertScratch, counts: UnsafeMutablePointer<Int64>
  ) throws(DeviceError) -> (gateUp: [ck_gemm], down: [ck_gemm]) {
    let input = values.columns(Columns(op.input, width: 0))
    let inner = Int64(op.intermediateWidth)
    func place(_ data: UnsafeMutablePointer<Float>, _ width: Int64) -> ck_columns {
      ck_columns(data: data, stride: width, group: 0, count: 1, width: width)
    }
    var (gateUp, down): ([ck_gemm], [ck_gemm]) = ([], [])
    for (index, expert) in op.experts.enumerated() {
      let rows = UnsafePointer(counts + index)
      gateUp.append(
        try product(
          try packer.matrix(expert.gate), from: input, to: place(memory.gates, inner), rows: rows))
      gateUp.append(
        try product(
          try packer.matrix(expert.up), from: input, to: place(memory.ups, inner), rows: rows))
      down.append(
        try product(
          try packer.matrix(expert.down), from: place(memory.gates, inner),
          to: place(memory.parts, Int64(program[op.output].width)), rows: rows, codesIn: .gated))
    }
    return (gateUp, down)
  }
}
