// SPDX-License-Identifier: Apache-2.0

internal import Support

/// The headers or trailers of a call: keys with values, in order, keys may repeat.
///
/// A key that ends in `-bin` has any bytes as its value; other values are printable ASCII. What
/// HTTP/2 cannot carry is refused when it is added.
package struct Metadata: Hashable, Sendable {
  package struct Entry: Hashable, Sendable {
    package let key: String
    package let value: [UInt8]
  }

  package private(set) var entries: [Entry] = []

  package init() {}

  /// The first text under `key`.
  package subscript(_ key: String) -> String? {
    self[binary: key].map { String(decoding: $0, as: UTF8.self) }
  }

  /// The first value under `key`, as bytes.
  package subscript(binary key: String) -> [UInt8]? {
    entries.first { $0.key == key }?.value
  }

  /// All values under `key`, in order.
  package func values(of key: String) -> [[UInt8]] {
    entries.filter { $0.key == key }.map(\.value)
  }

  /// Adds a text value.
  package mutating func append(_ key: String, _ value: String) throws(RPCError) {
    try append(key, bytes: Array(value.utf8))
  }

  /// Adds a value: any bytes if `key` ends in `-bin`, else printable ASCII.
  package mutating func append(_ key: String, bytes value: [UInt8]) throws(RPCError) {
    guard Self.isLegal(key: key) else {
      throw RPCError(
        .invalidArgument,
        "metadata key '\(key)': expected lower-case letters, digits, '-', '_' and '.', "
          + "and no 'grpc-' prefix")
    }
    guard key.hasSuffix("-bin") || value.allSatisfy({ (0x20...0x7E).contains($0) }) else {
      throw RPCError(
        .invalidArgument,
        "metadata value of '\(key)': expected printable ASCII; "
          + "other bytes need a key that ends in '-bin'")
    }
    entries.append(Entry(key: key, value: value))
  }

  /// Adds what came from the peer or is made here, without judging it.
  mutating func appendUnchecked(_ key: String, _ value: [UInt8]) {
    entries.append(Entry(key: key, value: value))
  }

  /// Takes out the first value under `key`.
  mutating func remove(_ key: String) -> [UInt8]? {
    guard let index = entries.firstIndex(where: { $0.key == key }) else { return nil }
    return entries.remove(at: index).value
  }

  private static func isLegal(key: String) -> Bool {
    let isAllowed = key.utf8.allSatisfy { byte in
      switch UInt8(byte) {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
      case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
      default: false
      }
    }
    return isAllowed && !key.isEmpty && !key.hasPrefix("grpc-")
  }
}
