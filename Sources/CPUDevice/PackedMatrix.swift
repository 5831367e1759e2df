// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Program
internal import Support

/// A matrix `[inner, columns]` in panels of 16 columns: what a product streams through.
struct PackedMatrix {
  var panels: UnsafeRawPointer
  /// Of W8 and W4.
  var scales: UnsafePointer<UInt16>?
  /// Of INT8 and INT4; of FP8 the scales.
  var factors = ck_code_factors()
  var type: ck_type
  var inner: Int
  var columns: Int

  /// Whether it multiplies codes of activations.
  var takesCodes: Bool { ck_takes_codes(type) != 0 }

  static func panelCount(_ columns: Int) -> Int { (columns + Int(CK_PANEL) - 1) / Int(CK_PANEL) }

  /// Bytes of all panels, without scales.
  static func panelBytes(_ type: ck_type, inner: Int, columns: Int) -> Int {
    Int(ck_panel_bytes(type, Int64(inner), Int64(columns)))
  }

  /// Scales of all panels; 0 but for W8 and W4.
  static func scaleCount(_ type: ck_type, inner: Int, columns: Int) -> Int {
    guard type == CK_W8 || type == CK_W4 else { return 0 }
    return panelCount(columns) * Int(CK_PANEL) * Int(ck_scale_groups(type, Int64(inner)))
  }

  /// Scales of all panels, and as many zeros, of INT8 and INT4 in such groups.
  static func factorCount(group: Int, inner: Int, columns: Int) -> Int {
    panelCount(columns) * Int(CK_PANEL) * ((inner + group - 1) / group)
  }
}

extension PackedMatrix {
  static func type(of layout: PanelLayout) -> ck_type {
    switch layout.factors {
    case .scales: layout.bits == 8 ? CK_W8 : CK_W4
    case .scalesAndZeros: layout.bits == 8 ? CK_INT8 : CK_INT4
    }
  }
  static func type(of codes: StoredCodes) -> ck_type { codes.bits == 8 ? CK_INT8 : CK_INT4 }

  /// The groups of stored codes as products take them; throws where they do not. A group of a
  /// whole row ends where the last group of activations does.
  static func productGroup(of tensor: StoredTensor) throws(WeightError) -> Int {
    guard let codes = tensor.codes else { throw WeightError("\(tensor.weight) has no codes") }
    var problem = "in groups of columns that are no neighbours (g_idx, of desc_act or actorder)"
    if codes.columnGroups == nil {
      let group = codes.group
      let whole = Int(CK_CODE_GROUP)
      let columns = tensor.weight.columns
      if group >= columns { return (columns + whole - 1) / whole * whole }
      if group == 32 || group == 64 || group % whole == 0 { return group }
      problem =
        "in groups of \(group) columns, expected 32, 64, a multiple of \(whole) or whole rows"
    }
    throw WeightError(
      "tensor \(tensor.weight.name) is stored \(problem); precision w8, w4, bf16 or f32 "
        + "converts it")
  }

  /// The matrix whose panels and factors lie from `start` on.
  init(_ layout: PanelLayout, at start: UnsafeMutablePointer<UInt8>) {
    let scales = UnsafeMutableRawPointer(start + layout.scaleOffset)
    panels = UnsafeRawPointer(start)
    type = Self.type(of: layout)
    inner = layout.columns
    columns = layout.rows
    if layout.factors == .scales {
      self.scales = UnsafePointer(scales.assumingMemoryBound(to: UInt16.self))
    } else {
      factors = ck_code_factors(
        scales: scales.assumingMemoryBound(to: Float.self), zeros: start + layout.zeroOffset,
        group: Int64(layout.group))
    }
  }

  /// Packs some rows of a tensor with all threads, or their transpose, to where this matrix is.
  func pack(
    _ tensor: StoredTensor, rows: Range<Int>, transposed: Bool = false, pool: WorkerPool
  ) {
    tensor.withDescription { source in
      pool.run(
        ck_run_pack,
        ck_pack(
          source: source, first_row: Int64(rows.lowerBound), transposed: transposed ? 1 : 0,
          inner: Int64(inner), columns: Int64(columns), type: type,
          panels: UnsafeMutableRawPointer(mutating: panels),
          scales: UnsafeMutablePointer(mutating: scales), factors: factors))
    }
  }
}

/// Names of what is in use, as a person reads them.
struct PackedTypes {
  private var types: Set<UInt32> = []

  mutating func insert(_ type: ck_type) { types.insert(type.rawValue) }

  func contains(_ type: ck_type) -> Bool { types.contains(type.rawValue) }

  private static let names = [
    (CK_F32, "f32"), (CK_BF16, "bf16"), (CK_W8, "w8"), (CK_W4, "w4"), (CK_INT8, "int8"),
    (CK_INT4, "int4"), (CK_FP8, "fp8"),
  ]

  static func name(_ type: ck_type) -> String { names.first { $0.0 == type }?.1 ?? "f32" }

  var description: String {
    let inUse = Self.names.filter { types.contains($0.0.rawValue) }.map(\.1)
    return inUse.isEmpty ? "f32" : inUse.joined(separator: " and ")
  }
}
