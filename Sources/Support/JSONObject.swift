// SPDX-License-Identifier: Apache-2.0

/// The members of a JSON object, in the order they were written, found by key in constant time.
///
/// Keys are compared as bytes. (`Dictionary<String, …>` would merge canonically equivalent keys,
/// which a tokenizer's vocabulary holds as different tokens.)
package struct JSONObject: Sendable {
  package struct Member: Sendable {
    package let key: String
    package let value: JSON
  }

  package private(set) var members: [Member] = []
  /// Open addressing with linear probing: 0 is free, `n` is member `n - 1`. At most half full;
  /// empty while there are so few members that a scan is quicker.
  private var slots: [UInt32] = []

  private static let scannedCountMax = 8

  package init() {}

  package var count: Int { members.count }

  /// The value of that key, compared as bytes.
  package subscript(key: String) -> JSON? { index(of: key).map { members[$0].value } }

  /// Adds a member behind the others; false, and no change, when the key is already there.
  package mutating func append(_ key: String, _ value: JSON) -> Bool {
    guard index(of: key) == nil else { return false }
    members.append(Member(key: key, value: value))
    if members.count > Self.scannedCountMax {
      if members.count * 2 > slots.count { rebuildSlots() } else { insertSlot(members.count - 1) }
    }
    return true
  }

  private func index(of key: String) -> Int? {
    guard !slots.isEmpty else { return members.firstIndex { Self.areSame($0.key, key) } }
    var slot = Self.hash(key) & (slots.count - 1)
    while slots[slot] != 0 {
      let index = Int(slots[slot]) - 1
      if Self.areSame(members[index].key, key) { return index }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  private mutating func rebuildSlots() {
    slots = Array(repeating: 0, count: max(32, slots.count * 2))
    for index in members.indices { insertSlot(index) }
  }

  private mutating func insertSlot(_ index: Int) {
    var slot = Self.hash(members[index].key) & (slots.count - 1)
    while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
    slots[slot] = UInt32(index + 1)
  }

  private static func areSame(_ left: String, _ right: String) -> Bool {
    left.utf8.count == right.utf8.count && left.utf8.elementsEqual(right.utf8)
  }

  private static func hash(_ key: String) -> Int {
    var hasher = Hasher()
    var key = key
    key.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    return hasher.finalize()
  }
}
