// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Program

/// A matrix, or several of one shape behind each other, as `product.h` reads them.
struct GPUMatrix {
  var layout: MatrixLayout
  var codes: UInt64
  var scales: UInt64
  var count: Int
}

/// How a matrix of so many rows and columns lies in memory.
struct MatrixLayout {
  var format: cu_format
  var rows: Int
  var columns: Int

  static let span = cu_span
  static let tileRows = cu_tile_rows

  var tiles: Int { (rows + Self.tileRows - 1) / Self.tileRows }
  var spans: Int { (columns + Self.span - 1) / Self.span }
  var paddedColumns: Int { spans * Self.span }
  /// Columns that share a scale, or masks.
  var group: Int { Int(cu_scale_group(format)) }

  /// A multiple of the arena's alignment, whatever the shape.
  var codeBytes: Int { tiles * spans * Int(cu_span_bytes(format)) }

  /// So much that the scales behind them are aligned.
  var scaleBytes: Int { (tiles * spans * Int(cu_span_scale_bytes(format)) + 15) / 16 * 16 }

  var name: String {
    switch format {
    case cu_format_bf16: "bf16"
    case cu_format_fp8: "fp8"
    case cu_format_w8: "w8"
    case cu_format_w4: "w4"
    case cu_format_w8a8: "w8a8"
    case cu_format_sparse: "sparse"
    case cu_format_fp8a8: "fp8a8"
    default: "int\(cu_code_bits(format))"
    }
  }
}

extension MatrixLayout {
  /// How linears and experts are kept.
  static func format(of tensor: StoredTensor, _ precision: CUDAPrecision) -> cu_format {
    switch precision {
    case .bf16: cu_format_bf16
    case .fp8: cu_format_fp8
    case .w8: cu_format_w8
    case .w4: cu_format_w4
    case .w8a8: cu_format_w8a8
    case .sparse: cu_format_sparse
    case .fp8a8: cu_format_fp8a8
    case .auto:
      if let panels = tensor.panels, panels.factors == .scales {
        panels.bits == 8 ? cu_format_w8 : cu_format_w4
      } else if let calibrated = CalibratedMatrix(tensor) {
        calibrated.format
      } else {
        tensor.type == .float8e4m3 && takesBlocks(of: tensor) ? cu_format_fp8 : cu_format_bf16
      }
    }
  }

  /// Of weights that are multiplied together: what all are, or else bf16.
  static func format(ofAll tensors: [StoredTensor], _ precision: CUDAPrecision) -> cu_format {
    let formats = Set(tensors.map { format(of: $0, precision).rawValue })
    return formats.count == 1 ? cu_format(formats.first ?? 0) : cu_format_bf16
  }

  /// Whether each span of a tile has one stored scale.
  static func takesBlocks(of tensor: StoredTensor) -> Bool {
    guard tensor.type == .float8e4m3, let scales = tensor.scales else { return false }
    let coversRows = scales.blockRows >= tensor.weight.rows || scales.blockRows % tileRows == 0
    return coversRows
      && (scales.blockColumns >= tensor.weight.columns
        || scales.blockColumns % span == 0)
  }
}
