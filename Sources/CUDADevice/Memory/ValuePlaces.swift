// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Device
internal import Program
internal import Support

/// Where the values of a program are, and in which forms. What products read is bfloat16
/// ("narrow"), or codes; what anybody else reads, what codes are made of, or what comes from or
/// goes to the outside, is floats; a value may be several. Rows begin at multiples of 16 bytes.
struct ValuePlaces {
  private let program: Program
  private let assignment: BufferAssignment
  private var buffers: [UInt64] = []
  /// For each buffer, where values that are floats too are narrow, and where codes; 0 if none is.
  private var companions: [UInt64] = []
  private var codes: [UInt64] = []
  private let forms: [Forms]

  /// Who needs a value, and so how it is kept.
  private struct Forms {
    var isNarrow = false
    var isCodes = false
    /// Whether codes are all that is written, and made of no floats.
    var isWrittenAsCodes = false
    var isReadOtherwise = false

    var isFloats: Bool {
      isReadOtherwise || (isCodes ? !isWrittenAsCodes : !isNarrow)
    }
  }

  init(
    _ program: Program, fused groups: [Range<Int>], precision: CUDAPrecision,
    capacity: DeviceCapacity, keepsFloats: Bool = false, arena: inout DeviceArena
  ) {
    self.program = program
    assignment = BufferAssignment(program, fused: groups)
    forms = Self.forms(of: program, precision, keepsFloats: keepsFloats)
    var (twofold, coded): (Set<Int>, Set<Int>) = ([], [])
    // Of a row as floats, or as what it is where it is no floats.
    var rowBytes = [Int](repeating: 0, count: assignment.buffers.count)
    for (index, value) in program.values.enumerated() {
      guard let buffer = assignment[ValueID(index: index)] else { continue }
      let form = forms[index]
      if form.isNarrow && form.isFloats { twofold.insert(buffer) }
      if form.isCodes { coded.insert(buffer) }
      let bytes =
        value.kind != .floats
        ? value.width * MemoryLayout<cu_choice>.stride
        : Self.padded(value.width) * (form.isFloats ? 4 : form.isNarrow ? 2 : 0)
      rowBytes[buffer] = max(rowBytes[buffer], bytes)
    }
    for (index, buffer) in assignment.buffers.enumerated() {
      let rows = buffer.rows == .tokens ? capacity.rowCountMax : capacity.outputCountMax
      let bytes = rows * rowBytes[index]
      buffers.append(bytes == 0 ? 0 : arena.allocate(bytes, for: .buffers))
      let narrowBytes = twofold.contains(index) ? rows * Self.padded(buffer.width) * 2 : 0
      companions.append(narrowBytes == 0 ? 0 : arena.allocate(narrowBytes, for: .buffers))
      let codeBytes = coded.contains(index) ? rows * Self.codedRowBytes(buffer.width) : 0
      codes.append(codeBytes == 0 ? 0 : arena.allocate(codeBytes, for: .buffers))
    }
  }

  private static func forms(
    of program: Program, _ precision: CUDAPrecision, keepsFloats: Bool
  ) -> [Forms] {
    var forms = [Forms](repeating: Forms(), count: program.values.count)
    func inputs(_ precision: CUDAPrecision) -> WritableKeyPath<Forms, Bool> {
      precision.takesCodes ? \.isCodes : \.isNarrow
    }
    for operation in program.operations {
      var others = operation.reads
      switch operation {
      case .linear(let op):
        let kept = program.isHead(op) ? precision.ofHead : precision
        (forms[op.input.index][keyPath: inputs(kept)], others) = (true, [])
      case .headwiseLinear(let op): (forms[op.input.value.index].isNarrow, others) = (true, [])
      case .experts(let op):
        (forms[op.input.index][keyPath: inputs(precision)], others) = (true, [op.routing])
      // Parts of the keys are merged outside, in floats.
      case .attention(let op) where op.logSumExp != nil: others.append(op.output)
      case .latentAttention(let op) where op.logSumExp != nil: others.append(op.output)
      default: break
      }
      for value in others { forms[value.index].isReadOtherwise = true }
      if case .rmsNorm(let op) = operation {
        forms[op.output.index].isWrittenAsCodes = !keepsFloats
      }
    }
    if case .hidden(let value) = program.input { forms[value.index].isReadOtherwise = true }
    switch program.output {
    case .logits(let value), .hidden(let value): forms[value.index].isReadOtherwise = true
    }
    return forms
  }

  /// As floats, or as what it is where it is no floats; nil if it is narrow or codes only.
  func floats(_ value: ValueID) -> UInt64? {
    forms[value.index].isFloats ? buffers[buffer(value)] : nil
  }

  /// As bfloat16; nil if it is not.
  func narrow(_ value: ValueID) -> UInt64? {
    let form = forms[value.index]
    guard form.isNarrow else { return nil }
    return form.isFloats ? companions[buffer(value)] : buffers[buffer(value)]
  }

  /// As codes; nil if it is not.
  func codes(_ value: ValueID) -> UInt64? {
    forms[value.index].isCodes ? codes[buffer(value)] : nil
  }

  private func buffer(_ value: ValueID) -> Int {
    guard let index = assignment[value] else {
      checkFailed("\(value) has no buffer", file: #fileID, line: #line)
    }
    return index
  }

  /// Elements from one row to the next, in either form.
  func stride(_ value: ValueID) -> Int { Self.padded(program[value].width) }

  /// Bytes from one coded row to the next.
  static func codedRowBytes(_ width: Int) -> Int {
    Int(cu_coded_row_bytes(Int32((width + MatrixLayout.span - 1) / MatrixLayout.span)))
  }

  static func padded(_ width: Int) -> Int { (width + 7) / 8 * 8 }
}
