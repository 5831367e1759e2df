// SPDX-License-Identifier: Apache-2.0

/// An enum of a proto file. It is open: a number that this version does not know is kept.
public protocol EnumValue: RawRepresentable, Hashable, Sendable where RawValue == Int {
  /// The value of number 0.
  init()
  /// Any number is a value.
  init(rawValue: Int)
}
