// SPDX-License-Identifier: Apache-2.0

/// The codec of message fields.
public enum WireMessage<Value: Message>: WireCodec {
  @inlinable public static var wireType: UInt32 { WireType.lengthDelimited }
  @inlinable public static var defaultValue: Value { Value() }
  @inlinable public static func isDefault(_ value: Value) -> Bool { false }

  @inlinable
  public static func size(_ value: Value) -> Int {
    let size = value.encodedSize
    return varintSize(UInt64(size)) + size
  }

  @inlinable
  public static func write(_ value: Value, to writer: inout WireWriter) {
    writer.varint(UInt64(value.encodedSize))
    value.write(to: &writer)
  }

  @inlinable
  public static func read(
    _ value: inout Value, from reader: inout WireReader
  ) throws(WireError) {
    let outer = try reader.enter()
    do {
      try value.decode(from: &reader)
    } catch {
      throw error.named(Value.self, tag: reader.tag)
    }
    reader.leave(outer)
  }
}
