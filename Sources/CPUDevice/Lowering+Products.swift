// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program

/// Matrix products, and the codes that they read.
extension Lowering {
  mutating func linear(_ op: Linear) throws(DeviceError) -> ck_gemm {
    var product = try product(
      try packer.matrix(op.weight), from: values.columns(Columns(op.input, width: 0)),
      to: values.columns(Columns(op.output, width: 0)), rows: rows(of: op.output),
      codesIn: place(of: op.input))
    if let bias = op.bias { product.bias = try packer.floats(bias) }
    return product
  }

  func product(
    _ matrix: PackedMatrix, from input: ck_columns, to output: ck_columns,
    rows: UnsafePointer<Int64>, codesIn place: CodesInScratch.Place = .inputs
  ) throws(DeviceError) -> ck_gemm {
    var product = ck_gemm()
    if matrix.takesCodes {
      product.codes = try scratch.codes(place, in: self)
      product.codes.group_count = Int64(LayerScratch.codeGroupCount(matrix.inner))
    }
    product.rows = rows
    product.input = UnsafePointer(input.data)
    product.input_stride = input.stride
    product.output = output.data
    product.output_stride = output.stride
    product.panels = matrix.panels
    product.scales = matrix.scales
    product.factors = matrix.factors
    product.type = matrix.type
    product.inner = Int64(matrix.inner)
    product.columns = Int64(matrix.columns)
    return product
  }

  /// Independent products, to be run in one phase.
  func gemms(_ products: [ck_gemm]) throws(DeviceError) -> ck_gemms {
    let place = try arena.allocate(ck_gemm.self, count: products.count)
    for (index, product) in products.enumerated() { place[index] = product }
    return ck_gemms(
      products: UnsafePointer(place), count: Int64(products.count),
      unit_panels: Int64(unitPanels(products)))
  }

  /// Large enough for full register tiles, small enough that threads end together.
  func unitPanels(_ products: [ck_gemm]) -> Int {
    let panels = products.reduce(0) { $0 + PackedMatrix.panelCount(Int($1.columns)) }
    return min(Int(CK_UNIT_PANELS), max(1, panels / (4 * threadCount)))
  }

  // MARK: Codes of what products read

  /// What a gated unit gives has outliers, which would take the others' precision.
  func place(of value: ValueID) -> CodesInScratch.Place {
    gatedValues.contains(value) ? .gated : .inputs
  }

  /// The phase that turns the input of a product, of `rows * repeat` rows, into codes.
  func quantization(
    of product: ck_gemm, rows: UnsafePointer<Int64>, repeat count: Int = 1
  ) throws(DeviceError) -> ck_phase {
    let arguments = ck_quantize(
      rows: rows, repeat: Int64(count), input: product.input, input_stride: product.input_stride,
      width: product.inner, codes: product.codes,
      powers_of_two: packer.scalesArePowersOfTwo ? 1 : 0)
    return product.type == CK_FP8
      ? try phase(ck_run_quantize_fp8, arguments) : try phase(kernels.quantize, arguments)
  }

  /// Sees to it that the codes that some products read of `value` are there, in the fused phases.
  mutating func fuseInput(
    of products: [ck_gemm], _ value: ValueID, rows: UnsafePointer<Int64>, at operation: Int
  ) throws(DeviceError) {
    guard let product = products.first(where: { $0.codes.codes != nil }) else { return }
    let place = place(of: value)
    if product.type == CK_FP8 {
      codes.overwrite(place, by: operation)
    } else if let maker = codes.take(product.codes, of: value, in: place, for: operation) {
      return fusedPhases.join(maker, operation)
    }
    fusedPhases.append(try quantization(of: product, rows: rows))
  }
}
