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
      }
    guard let scales else { return description }
    description.scales = values
    description.block_rows = Int64(scales.blockRows)
    description.block_columns = Int64(scales.blockColumns)
    description.blocks_per_row = Int64(scales.blocksPerRow)
    return description
  }
}
