// SPDX-License-Identifier: Apache-2.0

package import Program

/// What a device that multiplies in bfloat16 does to the inputs of products, for comparisons with
/// one that does not.
extension Operation {
  /// What products read.
  package var productInput: ValueID? {
    switch self {
    case .linear(let op): op.input
    case .headwiseLinear(let op): op.input.value
    case .experts(let op): op.input
    default: nil
    }
  }
}

extension Float {
  package var roundedToBFloat16: Float { Float(bfloat16Bits: bfloat16Bits) }
}
