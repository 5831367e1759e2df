// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Device
internal import Program
internal import Support

/// Where the values of a program are, and in which forms. What products read is bfloat16
/// ("narrow"); what anybody else reads, or what comes from or goes to the outside, is floats; a
/// value may be both. Rows begin at multiples of 16 bytes.
struct ValuePlaces {
  private let program: Program
  private let assignment: BufferAssignment
  private var buffers: [UInt64] = []
  /// For each buffer, where values that are floats too are narrow; 0 if none is.
  private var companions: [UInt64] = []
  private let forms: [Forms]

  /// Who needs a value, and so how it is kept.
  private struct Forms {
    var isReadByProducts = false
    var isReadOtherwise = false

    var isNarrow: Bool { isReadByProducts }
    var isFloats: Bool { isReadOtherwise || !isReadByProducts }
  }

  init(
    _ program: Program, fused groups: [Range<Int>], capacity: DeviceCapacity,
    arena: inout DeviceArena
  ) {
    self.program = program
    assignment = BufferAssignment(program, fused: groups)
    forms = Self.forms(of: program)
    var twofold: Set<Int> = []
    for index in program.values.indices where forms[index].isNarrow && forms[index].isFloats {
      if let buffer = assignment[ValueID(index: index)] { twofold.insert(buffer) }
    }
    for (index, buffer) in assignment.buffers.enumerated() {
      let rows = buffer.rows == .tokens ? capacity.rowCountMax : capacity.outputCountMax
      let bytes =
        buffer.kind == .floats
        ? Self.padded(buffer.width) * 4 : buffer.width * MemoryLayout<cu_choice>.stride
      buffers.append(arena.allocate(rows * bytes, for: .buffers))
      let narrowBytes = twofold.contains(index) ? rows * Self.padded(buffer.width) * 2 : 0
      companions.append(narrowBytes == 0 ? 0 : arena.allocate(narrowBytes, for: .buffers))
    }
  }

  private static func forms(of program: Program) -> [Forms] {
    var forms = [Forms](repeating: Forms(), count: program.values.count)
    for operation in program.operations {
      var others = operation.reads
      switch operation {
      case .linear(let op): (forms[op.input.index].isReadByProducts, others) = (true, [])
      case .headwiseLinear(let op):
        (forms[op.input.value.index].isReadByProducts, others) = (true, [])
      case .experts(let op):
        (forms[op.input.index].isReadByProducts, others) = (true, [op.routing])
      // Parts of the keys are merged outside, in floats.
      case .attention(let op) where op.logSumExp != nil: others.append(op.output)
      case .latentAttention(let op) where op.logSumExp != nil: others.append(op.output)
      default: break
      }
      for value in others { forms[value.index].isReadOtherwise = true }
    }
    if case .hidden(let value) = program.input { forms[value.index].isReadOtherwise = true }
    switch program.output {
    case .logits(let value), .hidden(let value): forms[value.index].isReadOtherwise = true
    }
    return forms
  }

  /// As floats, or as what it is where it is no floats; nil if it is narrow only.
  func floats(_ value: ValueID) -> UInt64? {
    forms[value.index].isFloats ? buffers[buffer(value)] : nil
  }

  /// As bfloat16; nil if it is not.
  func narrow(_ value: ValueID) -> UInt64? {
    let form = forms[value.index]
    guard form.isNarrow else { return nil }
    return form.isFloats ? companions[buffer(value)] : buffers[buffer(value)]
  }

  private func buffer(_ value: ValueID) -> Int {
    guard let index = assignment[value] else {
      checkFailed("\(value) has no buffer", file: #fileID, line: #line)
    }
    return index
  }

  /// Elements from one row to the next, in either form.
  func stride(_ value: ValueID) -> Int { Self.padded(program[value].width) }

  static func padded(_ width: Int) -> Int { (width + 7) / 8 * 8 }
}
