// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Support

/// A matrix `[inner, columns]` in panels of 16 columns: what a product streams through.
struct PackedMatrix {
  var panels: UnsafeRawPointer
  /// Of W8 and W4.
  var scales: UnsafePointer<UInt16>?
  var type: ck_type
  var inner: Int
  var columns: Int

  /// Whether it multiplies codes of activations.
  var takesCodes: Bool { type == CK_W8 || type == CK_W4 }

  static func panelCount(_ columns: Int) -> Int { (columns + Int(CK_PANEL) - 1) / Int(CK_PANEL) }

  /// Bytes of all panels, without scales.
  static func panelBytes(_ type: ck_type, inner: Int, columns: Int) -> Int {
    let elements = panelCount(columns) * Int(CK_PANEL)
    let padded = Int(ck_padded_inner(Int64(inner)))
    return switch type {
    case CK_W4: elements * padded / 2
    case CK_W8: elements * padded
    case CK_BF16: elements * inner * 2
    default: elements * inner * 4
    }
  }

  /// Scales of all panels; 0 but for W8 and W4.
  static func scaleCount(_ type: ck_type, inner: Int, columns: Int) -> Int {
    guard type == CK_W8 || type == CK_W4 else { return 0 }
    return panelCount(columns) * Int(CK_PANEL) * Int(ck_scale_groups(type, Int64(inner)))
  }
}

/// Names of what is in use, as a person reads them.
struct PackedTypes {
  private var types: Set<UInt32> = []

  mutating func insert(_ type: ck_type) { types.insert(type.rawValue) }

  var description: String {
    let names = [(CK_F32, "f32"), (CK_BF16, "bf16"), (CK_W8, "w8"), (CK_W4, "w4")]
      .filter { types.contains($0.0.rawValue) }.map(\.1)
    return names.isEmpty ? "f32" : names.joined(separator: " and ")
  }
}
