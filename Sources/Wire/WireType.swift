// SPDX-License-Identifier: Apache-2.0

/// The low 3 bits of a tag.
package enum WireType {
  package static let varint: UInt32 = 0
  package static let fixed64: UInt32 = 1
  package static let lengthDelimited: UInt32 = 2
  package static let startGroup: UInt32 = 3
  package static let endGroup: UInt32 = 4
  package static let fixed32: UInt32 = 5
}

/// The bytes of a varint: one for each 7 bits, at least one.
@inlinable
package func varintSize(_ value: UInt64) -> Int {
  // (bits * 9 + 64) / 64 is ceil(bits / 7) for 1 to 64 bits.
  ((64 - (value | 1).leadingZeroBitCount) * 9 + 64) >> 6
}
