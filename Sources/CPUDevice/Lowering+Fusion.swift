// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program

extension Lowering {
  mutating func lower(_ group: FusedGroup) throws(DeviceError) {
    switch group.kind {
    case .gated: try lowerGated(group.operations)
    case .normedSum: try lowerNormedSum(group.operations)
    }
  }

  /// Neighbouring linears that read one value and write different memory.
  private func linears(_ first: Linear, from index: Int) -> Range<Int> {
    var end = index + 1
    var buffers: Set = [values.floats(first.output)]
    while end < program.operations.count, case .linear(let next) = program.operations[end],
      next.input == first.input, buffers.insert(values.floats(next.output)).inserted
    {
      end += 1
    }
    return index..<end
  }

  /// The linears of one input that begin with an operation; returns where they end.
  mutating func lowerLinears(_ first: Linear, from index: Int) throws(DeviceError) -> Int {
    let group = linears(first, from: index)
    var products: [ck_gemm] = []
    for case .linear(let op) in program.operations[group] {
      phases.beginOperation()
      products.append(try lowerAlone(op))
    }
    beginFused(group)
    try fuseInput(of: products, first.input, rows: rows(of: first.output), at: index)
    fusedPhases.append(try phase(kernels.gemms, gemms(products)))
    return group.upperBound
  }

  /// Adds a linear's phases as one operation, and returns its product.
  private mutating func lowerAlone(_ op: Linear) throws(DeviceError) -> ck_gemm {
    let product = try linear(op)
    if product.codes.codes != nil {
      phases.append(try quantization(of: product, rows: product.rows))
    }
    phases.append(try phase(kernels.gemms, gemms([product])))
    return product
  }

  private mutating func lowerGated(_ group: Range<Int>) throws(DeviceError) {
    guard case .linear(let gate) = program.operations[group.lowerBound],
      case .linear(let up) = program.operations[group.lowerBound + 1],
      case .swiglu(let unit) = program.operations[group.lowerBound + 2]
    else { return }
    var products: [ck_gemm] = []
    for op in [gate, up] {
      phases.beginOperation()
      products.append(try lowerAlone(op))
    }
    phases.beginOperation()
    let closing = try phase(kernels.swiglu, binary(unit.gate, unit.up, unit.output))
    phases.append(closing)
    beginFused(group)
    try fuseInput(of: products, gate.input, rows: rows(of: unit.output), at: group.lowerBound)
    guard let gated = try gated(products) else {
      fusedPhases.append(try phase(kernels.gemms, gemms(products)))
      fusedPhases.append(closing)
      return
    }
    gated.pointee.output = values.floats(unit.output)
    gated.pointee.output_stride = Int64(program[unit.output].width)
    fusedPhases.append(ck_phase(kernel: kernels.gated, arguments: gated))
    let isReadOnce = readerCounts[unit.output] == 1
    codes.offer(unit.output, by: group.upperBound - 1) { codes in
      gated.pointee.codes = codes
      if isReadOnce { gated.pointee.output = nil }
    }
  }

  /// Gates and ups of some pairs in one phase, which writes nothing yet; nil if their formats do
  /// not allow it.
  mutating func gated(_ products: [ck_gemm]) throws(DeviceError) -> UnsafeMutablePointer<ck_gated>?
  {
    for pair in stride(from: 0, to: products.count, by: 2) {
      guard products[pair].type == products[pair + 1].type, products[pair].type != CK_FP8
      else { return nil }
    }
    reserveScratch(Int(CK_GATED_SCRATCH))
    var arguments = ck_gated()
    arguments.gate_up = try gemms(products).products
    arguments.pairs = Int64(products.count / 2)
    arguments.unit_panels = Int64(unitPanels(products) > 2 ? CK_UNIT_PANELS : 2)
    return try place(arguments)
  }

  private mutating func lowerNormedSum(_ group: Range<Int>) throws(DeviceError) {
    guard case .add(let sum) = program.operations[group.lowerBound],
      case .rmsNorm(let op) = program.operations[group.lowerBound + 1]
    else { return }
    phases.beginOperation()
    phases.append(try phase(kernels.add, binary(sum.left, sum.right, sum.output)))
    phases.beginOperation()
    var arguments = try norm(op)
    phases.append(try phase(kernels.norm, arguments))
    beginFused(group)
    arguments.input = values.columns(Columns(sum.left, width: program[sum.left].width))
    arguments.addend = UnsafePointer(values.floats(sum.right))
    arguments.sum = values.floats(sum.output)
    try fuse(arguments, op, at: group.upperBound - 1)
  }

  /// A norm, which makes codes of its output if a product asks for them.
  mutating func fuse(_ arguments: ck_norm, _ op: RMSNorm, at index: Int) throws(DeviceError) {
    let place = try place(arguments)
    fusedPhases.append(ck_phase(kernel: kernels.norm, arguments: place))
    codes.offer(op.output, by: index) { place.pointee.codes = $0 }
  }

  private mutating func beginFused(_ group: Range<Int>) {
    fusedPhases.beginOperation()
    for _ in group.dropFirst() { fusedPhases.continueOperation() }
  }
}
