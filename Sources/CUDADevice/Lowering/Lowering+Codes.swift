// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// Codes of what products read, where they read such (`coded_rows.h`): made in passing by who has
/// whole spans of a row together, a norm and the merge of an attention's parts; else of floats, by
/// who reads them (`FloatInput`).
extension Lowering {
  /// What makes the codes of the floats of each value that products read so.
  func quantizingLaunches() -> [ValueID: Launch] {
    var launches: [ValueID: Launch] = [:]
    for value in program.values.indices.map(ValueID.init(index:)) {
      let output = codedRows(value)
      guard output.rows != nil, let floats = floats(value) else { continue }
      launches[value] = quantize(
        floats, stride: stride(value), width: program[value].width, to: output, space(of: value))
    }
    return launches
  }

  /// Where codes of a value are; null if it has none.
  func codedRows(_ value: ValueID) -> cu_codes {
    codedRows(values.codes(value).flatMap { pointer($0) }, width: program[value].width)
  }

  func codedRows(_ rows: UnsafeMutablePointer<UInt8>?, width: Int) -> cu_codes {
    cu_codes(
      rows: rows, stride: Int64(ValuePlaces.codedRowBytes(width)),
      code: Int32(code.rawValue), unused: 0)
  }

  /// What codes are: as the checkpoint's own, their scales are powers of two.
  static func code(of program: Program, _ loader: WeightLoader) -> cu_code {
    guard loader.precision == .fp8a8 else { return cu_code_s8 }
    for operation in program.operations {
      let weight: Weight? =
        switch operation {
        case .linear(let op): op.weight
        case .experts(let op): op.experts.first?.gate
        default: nil
        }
      // What is wrong with a tensor is said where it is loaded.
      let scales = weight.flatMap { try? loader.source.matrix($0).scales }
      if let scales { return scales.arePowersOfTwo ? cu_code_e4m3_powers : cu_code_e4m3 }
    }
    return cu_code_e4m3
  }

  /// - Parameter rowsEach: rows for each row of the step.
  func quantize(
    _ input: UnsafeMutablePointer<Float>?, stride: Int64, width: Int, to output: cu_codes,
    _ space: RowSpace, rowsEach: Int = 1
  ) -> Launch {
    let argument = cu_quantize(
      step: stepPointer, input: UnsafePointer(input), input_stride: stride, output: output,
      width: Int32(width), space: Self.index(space), rows_each: Int32(rowsEach), unused: 0)
    let columnsOfBlock = MatrixLayout.span * cu_threads / 32
    let blocks = (width + columnsOfBlock - 1) / columnsOfBlock
    return .rows(
      kernels.quantizeRows, list.keep(argument), space, repeated: blocks * rowsEach)
  }

  /// What linears and experts multiply: a value's codes, or bfloat16.
  func setInput(_ value: ValueID, of argument: inout cu_product, _ layout: MatrixLayout) {
    argument.input_is_aligned = 1
    guard cu_takes_codes(layout.format) != 0 else {
      argument.input = UnsafeRawPointer(narrow(value))
      argument.input_stride = stride(value)
      return
    }
    let codes = codedRows(value)
    argument.input = UnsafeRawPointer(codes.rows)
    argument.input_stride = codes.stride
  }
}

extension Program {
  /// Whether a linear gives the logits.
  func isHead(_ op: Linear) -> Bool { output == .logits(op.output) }
}
