// SPDX-License-Identifier: Apache-2.0

/// The codec of `string`: UTF-8, checked when it is read.
public enum WireString: WireKeyCodec {
  @inlinable public static var wireType: UInt32 { WireType.lengthDelimited }
  @inlinable public static var defaultValue: String { "" }
  @inlinable public static func isDefault(_ value: String) -> Bool { value.isEmpty }

  @inlinable
  public static func size(_ value: String) -> Int {
    let count = value.utf8.count
    return varintSize(UInt64(count)) + count
  }

  @inlinable
  public static func write(_ value: String, to writer: inout WireWriter) {
    var value = value
    value.withUTF8 { writer.lengthDelimited($0) }
  }

  @inlinable
  public static func read(
    _ value: inout String, from reader: inout WireReader
  ) throws(WireError) {
    let bytes = try reader.lengthDelimited()
    let units = bytes.assumingMemoryBound(to: UInt8.self).span
    do {
      // Three times faster than `String(validating:as:)`, which is generic over its encoding.
      value = String(copying: try UTF8Span(validating: units))
    } catch {
      throw reader.error(.invalidUTF8)
    }
  }

  /// Swift orders texts by their canonical form; other languages do by bytes.
  @inlinable
  public static func precedes(_ left: String, _ right: String) -> Bool {
    left.utf8.lexicographicallyPrecedes(right.utf8)
  }
}

/// The codec of `bytes`.
public enum WireBytes: WireCodec {
  @inlinable public static var wireType: UInt32 { WireType.lengthDelimited }
  @inlinable public static var defaultValue: [UInt8] { [] }
  @inlinable public static func isDefault(_ value: [UInt8]) -> Bool { value.isEmpty }

  @inlinable
  public static func size(_ value: [UInt8]) -> Int {
    varintSize(UInt64(value.count)) + value.count
  }

  @inlinable
  public static func write(_ value: [UInt8], to writer: inout WireWriter) {
    value.withUnsafeBufferPointer { writer.lengthDelimited($0) }
  }

  @inlinable
  public static func read(
    _ value: inout [UInt8], from reader: inout WireReader
  ) throws(WireError) {
    value = [UInt8](try reader.lengthDelimited())
  }
}
