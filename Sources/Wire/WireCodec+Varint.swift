// SPDX-License-Identifier: Apache-2.0

// The codecs of proto's number types that are varints: int32 and enums sign-extended to 64 bits.

public enum WireInt32: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: Int32 { 0 }
  @inlinable public static func isDefault(_ value: Int32) -> Bool { value == 0 }

  @inlinable
  public static func size(_ value: Int32) -> Int {
    varintSize(UInt64(bitPattern: Int64(value)))
  }

  @inlinable
  public static func write(_ value: Int32, to writer: inout WireWriter) {
    writer.varint(UInt64(bitPattern: Int64(value)))
  }

  @inlinable
  public static func read(_ value: inout Int32, from reader: inout WireReader) throws(WireError) {
    value = Int32(truncatingIfNeeded: try reader.varint())
  }
}

public enum WireInt64: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: Int64 { 0 }
  @inlinable public static func isDefault(_ value: Int64) -> Bool { value == 0 }

  @inlinable
  public static func size(_ value: Int64) -> Int {
    varintSize(UInt64(bitPattern: value))
  }

  @inlinable
  public static func write(_ value: Int64, to writer: inout WireWriter) {
    writer.varint(UInt64(bitPattern: value))
  }

  @inlinable
  public static func read(_ value: inout Int64, from reader: inout WireReader) throws(WireError) {
    value = Int64(bitPattern: try reader.varint())
  }
}

public enum WireUInt32: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: UInt32 { 0 }
  @inlinable public static func isDefault(_ value: UInt32) -> Bool { value == 0 }
  @inlinable public static func size(_ value: UInt32) -> Int { varintSize(UInt64(value)) }

  @inlinable
  public static func write(_ value: UInt32, to writer: inout WireWriter) {
    writer.varint(UInt64(value))
  }

  @inlinable
  public static func read(_ value: inout UInt32, from reader: inout WireReader) throws(WireError) {
    value = UInt32(truncatingIfNeeded: try reader.varint())
  }
}

public enum WireUInt64: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: UInt64 { 0 }
  @inlinable public static func isDefault(_ value: UInt64) -> Bool { value == 0 }
  @inlinable public static func size(_ value: UInt64) -> Int { varintSize(value) }

  @inlinable
  public static func write(_ value: UInt64, to writer: inout WireWriter) {
    writer.varint(value)
  }

  @inlinable
  public static func read(_ value: inout UInt64, from reader: inout WireReader) throws(WireError) {
    value = try reader.varint()
  }
}

public enum WireSInt32: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: Int32 { 0 }
  @inlinable public static func isDefault(_ value: Int32) -> Bool { value == 0 }
  @inlinable public static func size(_ value: Int32) -> Int { varintSize(zigZag(Int64(value))) }

  @inlinable
  public static func write(_ value: Int32, to writer: inout WireWriter) {
    writer.varint(zigZag(Int64(value)))
  }

  @inlinable
  public static func read(_ value: inout Int32, from reader: inout WireReader) throws(WireError) {
    value = Int32(truncatingIfNeeded: zagZig(try reader.varint() & 0xFFFF_FFFF))
  }
}

public enum WireSInt64: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: Int64 { 0 }
  @inlinable public static func isDefault(_ value: Int64) -> Bool { value == 0 }
  @inlinable public static func size(_ value: Int64) -> Int { varintSize(zigZag(value)) }

  @inlinable
  public static func write(_ value: Int64, to writer: inout WireWriter) {
    writer.varint(zigZag(value))
  }

  @inlinable
  public static func read(_ value: inout Int64, from reader: inout WireReader) throws(WireError) {
    value = zagZig(try reader.varint())
  }
}

public enum WireBool: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: Bool { false }
  @inlinable public static func isDefault(_ value: Bool) -> Bool { !value }
  @inlinable public static func size(_ value: Bool) -> Int { 1 }

  @inlinable
  public static func write(_ value: Bool, to writer: inout WireWriter) {
    writer.byte(value ? 1 : 0)
  }

  @inlinable
  public static func read(_ value: inout Bool, from reader: inout WireReader) throws(WireError) {
    value = try reader.varint() != 0
  }

  @inlinable
  public static func precedes(_ left: Bool, _ right: Bool) -> Bool { !left && right }
}

/// Enums are int32 on the wire; in Swift, `Int` like all counts.
public enum WireEnum<Value: EnumValue>: WireCodec {
  @inlinable public static var wireType: UInt32 { WireType.varint }
  @inlinable public static var defaultValue: Value { Value() }
  @inlinable public static func isDefault(_ value: Value) -> Bool { value.rawValue == 0 }

  @inlinable
  public static func size(_ value: Value) -> Int {
    WireInt32.size(Int32(truncatingIfNeeded: value.rawValue))
  }

  @inlinable
  public static func write(_ value: Value, to writer: inout WireWriter) {
    WireInt32.write(Int32(truncatingIfNeeded: value.rawValue), to: &writer)
  }

  @inlinable
  public static func read(_ value: inout Value, from reader: inout WireReader) throws(WireError) {
    var number: Int32 = 0
    try WireInt32.read(&number, from: &reader)
    value = Value(rawValue: Int(number))
  }
}

/// Interleaves negative and positive numbers, so that small ones of either sign are short.
@inlinable
func zigZag(_ value: Int64) -> UInt64 { UInt64(bitPattern: value << 1 ^ value >> 63) }

/// The reverse of `zigZag`.
@inlinable
func zagZig(_ value: UInt64) -> Int64 { Int64(bitPattern: value >> 1 ^ (0 &- value & 1)) }
