// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Program

extension StoredTensor {
  /// The tensor as kernels read it, while `body` runs.
  func withDescription(_ body: (ck_tensor) -> Void) {
    guard let scales else { return body(description(scales: nil)) }
    scales.values.withUnsafeBufferPointer { body(description(scales: $0.baseAddress)) }
  }

  /// - Parameter values: those of `scales`, where they stay.
  func description(scales values: UnsafePointer<Float>?) -> ck_tensor {
    var description = ck_tensor()
    description.bytes = bytes.baseAddress
    description.columns = Int64(weight.columns)
    description.type =
      switch type {
      case .float32: CK_F32
      case .float16: CK_F16
      case .bfloat16: CK_BF16
      case .float8e4m3: CK_FP8
      case .panels: CK_W8  // never read element by element
      case .codes: codes?.bits == 8 ? CK_INT8 : CK_INT4
      }
    if let codes { description.codes = codes.description }
    guard let scales else { return description }
    description.scales = values
    description.block_rows = Int64(scales.blockRows)
    description.block_columns = Int64(scales.blockColumns)
    description.blocks_per_row = Int64(scales.blocksPerRow)
    return description
  }
}

extension StoredCodes {
  fileprivate var description: ck_stored_codes {
    var description = ck_stored_codes()
    description.codes = codes.description
    if let zeros { description.zeros = zeros.description }
    description.zero = Int32(middle)
    description.scale_type =
      switch scales.type {
      case .float16: CK_F16
      case .bfloat16: CK_BF16
      default: CK_F32
      }
    description.scales = scales.bytes.baseAddress
    description.scale_row_stride = Int64(scales.rowStride)
    description.scale_group_stride = Int64(scales.groupStride)
    description.group = Int64(group)
    description.column_groups = columnGroups?.bytes.baseAddress?.assumingMemoryBound(
      to: Int32.self)
    return description
  }
}

extension IntegerGrid {
  fileprivate var description: ck_grid {
    ck_grid(
      bytes: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), row_stride: Int64(rowStride),
      column_stride: Int64(columnStride), row_shift: Int32(rowsPerWord.trailingZeroBitCount),
      column_shift: Int32(columnsPerWord.trailingZeroBitCount), order: order, bits: UInt8(bits),
      bias: bias, mask: mask)
  }
}
