// SPDX-License-Identifier: Apache-2.0

/// What can be a map's key.
public protocol WireKeyCodec: WireCodec {
  /// The order in which keys are written: numbers by value, texts by their bytes.
  static func precedes(_ left: Value, _ right: Value) -> Bool
}

extension WireKeyCodec where Value: Comparable {
  @inlinable
  public static func precedes(_ left: Value, _ right: Value) -> Bool { left < right }
}

/// A map field: on the wire, a repeated message of a key (1) and a value (2).
public enum WireMap<Key: WireKeyCodec, Value: WireCodec> {
  @inlinable
  static func entrySize(_ key: Key.Value, _ value: Value.Value) -> Int {
    Key.presentSize(key, tagSize: 1) + Value.presentSize(value, tagSize: 1)
  }

  @inlinable
  public static func size(_ map: [Key.Value: Value.Value], tagSize: Int) -> Int {
    var size = 0
    for (key, value) in map {
      let entry = entrySize(key, value)
      size += tagSize + varintSize(UInt64(entry)) + entry
    }
    return size
  }

  /// Cost: sorts the keys.
  @inlinable
  public static func write(
    _ map: [Key.Value: Value.Value], tag: UInt32, to writer: inout WireWriter
  ) {
    for (key, value) in map.sorted(by: { Key.precedes($0.key, $1.key) }) {
      writer.tag(tag)
      writer.varint(UInt64(entrySize(key, value)))
      Key.writePresent(key, tag: 1 << 3 | Key.wireType, to: &writer)
      Value.writePresent(value, tag: 2 << 3 | Value.wireType, to: &writer)
    }
  }

  /// Reads one entry. A later entry replaces an earlier one of the same key.
  @inlinable
  public static func read(
    _ map: inout [Key.Value: Value.Value], from reader: inout WireReader
  ) throws(WireError) {
    let outer = try reader.enter()
    var key = Key.defaultValue
    var value = Value.defaultValue
    do {
      try readEntry(&key, &value, from: &reader)
    } catch {
      reader.tag = outer.tag
      throw error
    }
    reader.leave(outer)
    map[key] = value
  }

  @inlinable
  static func readEntry(
    _ key: inout Key.Value, _ value: inout Value.Value, from reader: inout WireReader
  ) throws(WireError) {
    while let tag = try reader.nextTag() {
      switch tag {
      case 1 << 3 | Key.wireType: try Key.read(&key, from: &reader)
      case 2 << 3 | Value.wireType: try Value.read(&value, from: &reader)
      default: try reader.skip(tag)
      }
    }
  }
}
