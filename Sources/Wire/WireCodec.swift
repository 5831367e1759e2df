// SPDX-License-Identifier: Apache-2.0

/// How one kind of field is encoded. Generated messages name a codec for each field, and use the
/// functions of the extensions: one set for each way in which a field can be present.
public protocol WireCodec {
  associatedtype Value: Hashable & Sendable
  static var wireType: UInt32 { get }
  /// What an absent field holds.
  static var defaultValue: Value { get }
  /// Whether a field without presence is left out. A float's -0 is not.
  static func isDefault(_ value: Value) -> Bool
  /// The bytes of a value without its tag, with its length if it has one.
  static func size(_ value: Value) -> Int
  static func write(_ value: Value, to writer: inout WireWriter)
  /// Replaces the value; merges into a message.
  static func read(_ value: inout Value, from reader: inout WireReader) throws(WireError)
}

/// A field that is always present: proto3's default. Also the payload of a oneof.
extension WireCodec {
  @inlinable
  public static func fieldSize(_ value: Value, tagSize: Int) -> Int {
    isDefault(value) ? 0 : presentSize(value, tagSize: tagSize)
  }

  @inlinable
  public static func writeField(_ value: Value, tag: UInt32, to writer: inout WireWriter) {
    if !isDefault(value) { writePresent(value, tag: tag, to: &writer) }
  }

  @inlinable
  public static func presentSize(_ value: Value, tagSize: Int) -> Int { tagSize + size(value) }

  @inlinable
  public static func writePresent(_ value: Value, tag: UInt32, to writer: inout WireWriter) {
    writer.tag(tag)
    write(value, to: &writer)
  }
}

/// A field that may be absent: `optional`, and every message.
extension WireCodec {
  @inlinable
  public static func optionalSize(_ value: Value?, tagSize: Int) -> Int {
    guard let value else { return 0 }
    return presentSize(value, tagSize: tagSize)
  }

  @inlinable
  public static func writeOptional(_ value: Value?, tag: UInt32, to writer: inout WireWriter) {
    if let value { writePresent(value, tag: tag, to: &writer) }
  }

  @inlinable
  public static func readOptional(
    _ value: inout Value?, from reader: inout WireReader
  ) throws(WireError) {
    var present = value ?? defaultValue
    value = nil
    try read(&present, from: &reader)
    value = present
  }
}

/// A repeated field with a tag for each element.
extension WireCodec {
  @inlinable
  public static func repeatedSize(_ values: [Value], tagSize: Int) -> Int {
    var size = values.count * tagSize
    for value in values { size += Self.size(value) }
    return size
  }

  @inlinable
  public static func writeRepeated(_ values: [Value], tag: UInt32, to writer: inout WireWriter) {
    for value in values { writePresent(value, tag: tag, to: &writer) }
  }

  @inlinable
  public static func readRepeated(
    _ values: inout [Value], from reader: inout WireReader
  ) throws(WireError) {
    var value = defaultValue
    try read(&value, from: &reader)
    values.append(value)
  }
}

/// A repeated field with one tag and one length for all elements.
extension WireCodec {
  @inlinable
  public static func packedSize(_ values: [Value], tagSize: Int) -> Int {
    guard !values.isEmpty else { return 0 }
    let size = repeatedSize(values, tagSize: 0)
    return tagSize + varintSize(UInt64(size)) + size
  }

  @inlinable
  public static func writePacked(_ values: [Value], tag: UInt32, to writer: inout WireWriter) {
    guard !values.isEmpty else { return }
    writer.tag(tag)
    writer.varint(UInt64(repeatedSize(values, tagSize: 0)))
    for value in values { write(value, to: &writer) }
  }

  @inlinable
  public static func readPacked(
    _ values: inout [Value], from reader: inout WireReader
  ) throws(WireError) {
    let length = try reader.length()
    let outerEnd = reader.end
    let elementSize = wireType == WireType.fixed64 ? 8 : wireType == WireType.fixed32 ? 4 : 1
    guard length % elementSize == 0 else { throw reader.error(.packedLength) }
    reader.end = reader.position + length
    while reader.position < reader.end { try readRepeated(&values, from: &reader) }
    reader.end = outerEnd
  }
}
