// SPDX-License-Identifier: Apache-2.0

/// Ids by byte string: a hash table with open addressing over one block of bytes.
///
/// Swift's own `String` keys would call canonically equivalent tokens the same.
struct ByteStringTable {
  private struct Entry {
    var hash: UInt32
    var start: UInt32
    var count: UInt32
    /// -1 marks a free slot.
    var id: Int32
  }

  private var entries: [Entry]
  private let mask: Int
  private var storage: [UInt8] = []

  /// A table for up to `count` strings.
  init(capacity count: Int) {
    var size = 16
    while size < count * 2 { size *= 2 }
    entries = Array(repeating: Entry(hash: 0, start: 0, count: 0, id: -1), count: size)
    mask = size - 1
  }

  /// Adds a string that is not in the table yet.
  mutating func add(_ string: [UInt8], _ id: Int32) {
    let hash = string.withUnsafeBufferPointer(Self.hash)
    var slot = Int(hash) & mask
    while entries[slot].id >= 0 { slot = (slot + 1) & mask }
    entries[slot] = Entry(
      hash: hash, start: UInt32(storage.count), count: UInt32(string.count), id: id)
    storage += string
  }

  subscript(string: UnsafeBufferPointer<UInt8>) -> Int32? {
    let hash = Self.hash(string)
    var slot = Int(hash) & mask
    while entries[slot].id >= 0 {
      let entry = entries[slot]
      if entry.hash == hash, Int(entry.count) == string.count {
        let known = storage[Int(entry.start)..<Int(entry.start) + string.count]
        if known.elementsEqual(string) { return entry.id }
      }
      slot = (slot + 1) & mask
    }
    return nil
  }

  /// FNV-1a.
  private static func hash(_ string: UnsafeBufferPointer<UInt8>) -> UInt32 {
    string.reduce(2_166_136_261) { ($0 ^ UInt32($1)) &* 16_777_619 }
  }
}
