// SPDX-License-Identifier: Apache-2.0

/// The low 3 bits of a tag.
public enum WireType {
  public static let varint: UInt32 = 0
  public static let fixed64: UInt32 = 1
  public static let lengthDelimited: UInt32 = 2
  public static let startGroup: UInt32 = 3
  public static let endGroup: UInt32 = 4
  public static let fixed32: UInt32 = 5

  /// What stands before a field.
  @inlinable
  public static func tag(_ fieldNumber: UInt32, _ type: UInt32) -> UInt32 {
    fieldNumber << 3 | type
  }
}

/// The bytes of a varint: one for each 7 bits, at least one.
@inlinable
public func varintSize(_ value: UInt64) -> Int {
  // (bits * 9 + 64) / 64 is ceil(bits / 7) for 1 to 64 bits.
  ((64 - (value | 1).leadingZeroBitCount) * 9 + 64) >> 6
}
