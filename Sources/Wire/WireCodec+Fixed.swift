// SPDX-License-Identifier: Apache-2.0

// The codecs of proto's number types that take 4 or 8 bytes.

public enum WireDouble: WireCodec {
  @inlinable public static var wireType: UInt32 { WireType.fixed64 }
  @inlinable public static var defaultValue: Double { 0 }
  @inlinable public static func isDefault(_ value: Double) -> Bool { value.bitPattern == 0 }
  @inlinable public static func size(_ value: Double) -> Int { 8 }

  @inlinable
  public static func write(_ value: Double, to writer: inout WireWriter) {
    writer.fixed(value.bitPattern)
  }

  @inlinable
  public static func read(_ value: inout Double, from reader: inout WireReader) throws(WireError) {
    value = Double(bitPattern: try reader.fixed(UInt64.self))
  }
}

public enum WireFloat: WireCodec {
  @inlinable public static var wireType: UInt32 { WireType.fixed32 }
  @inlinable public static var defaultValue: Float { 0 }
  @inlinable public static func isDefault(_ value: Float) -> Bool { value.bitPattern == 0 }
  @inlinable public static func size(_ value: Float) -> Int { 4 }

  @inlinable
  public static func write(_ value: Float, to writer: inout WireWriter) {
    writer.fixed(value.bitPattern)
  }

  @inlinable
  public static func read(_ value: inout Float, from reader: inout WireReader) throws(WireError) {
    value = Float(bitPattern: try reader.fixed(UInt32.self))
  }
}

public enum WireFixed32: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.fixed32 }
  @inlinable public static var defaultValue: UInt32 { 0 }
  @inlinable public static func isDefault(_ value: UInt32) -> Bool { value == 0 }
  @inlinable public static func size(_ value: UInt32) -> Int { 4 }

  @inlinable
  public static func write(_ value: UInt32, to writer: inout WireWriter) {
    writer.fixed(value)
  }

  @inlinable
  public static func read(_ value: inout UInt32, from reader: inout WireReader) throws(WireError) {
    value = try reader.fixed(UInt32.self)
  }
}

public enum WireFixed64: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.fixed64 }
  @inlinable public static var defaultValue: UInt64 { 0 }
  @inlinable public static func isDefault(_ value: UInt64) -> Bool { value == 0 }
  @inlinable public static func size(_ value: UInt64) -> Int { 8 }

  @inlinable
  public static func write(_ value: UInt64, to writer: inout WireWriter) {
    writer.fixed(value)
  }

  @inlinable
  public static func read(_ value: inout UInt64, from reader: inout WireReader) throws(WireError) {
    value = try reader.fixed(UInt64.self)
  }
}

public enum WireSFixed32: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.fixed32 }
  @inlinable public static var defaultValue: Int32 { 0 }
  @inlinable public static func isDefault(_ value: Int32) -> Bool { value == 0 }
  @inlinable public static func size(_ value: Int32) -> Int { 4 }

  @inlinable
  public static func write(_ value: Int32, to writer: inout WireWriter) {
    writer.fixed(value)
  }

  @inlinable
  public static func read(_ value: inout Int32, from reader: inout WireReader) throws(WireError) {
    value = try reader.fixed(Int32.self)
  }
}

public enum WireSFixed64: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.fixed64 }
  @inlinable public static var defaultValue: Int64 { 0 }
  @inlinable public static func isDefault(_ value: Int64) -> Bool { value == 0 }
  @inlinable public static func size(_ value: Int64) -> Int { 8 }

  @inlinable
  public static func write(_ value: Int64, to writer: inout WireWriter) {
    writer.fixed(value)
  }

  @inlinable
  public static func read(_ value: inout Int64, from reader: inout WireReader) throws(WireError) {
    value = try reader.fixed(Int64.self)
  }
}
