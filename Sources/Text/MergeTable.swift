// SPDX-License-Identifier: Apache-2.0

/// Which neighbouring tokens merge into which, and how early: a hash table with open addressing.
struct MergeTable {
  struct Merge {
    /// Smaller merges first.
    let rank: UInt32
    let token: Int32
  }

  private struct Entry {
    var pair: UInt64
    var merge: Merge
  }

  private static let noPair = UInt64.max
  private var entries: [Entry]
  private let mask: Int

  /// A table for up to `count` pairs.
  init(capacity count: Int) {
    var size = 16
    while size < count * 2 { size *= 2 }
    let free = Entry(pair: Self.noPair, merge: Merge(rank: 0, token: 0))
    entries = Array(repeating: free, count: size)
    mask = size - 1
  }

  /// Sets what a pair merges into; the last call for a pair counts.
  mutating func set(_ left: Int32, _ right: Int32, _ merge: Merge) {
    let pair = Self.pair(left, right)
    var slot = Self.hash(pair) & mask
    while entries[slot].pair != pair && entries[slot].pair != Self.noPair {
      slot = (slot + 1) & mask
    }
    entries[slot] = Entry(pair: pair, merge: merge)
  }

  /// What a pair merges into; nil if it does not.
  func merge(_ left: Int32, _ right: Int32) -> Merge? {
    let pair = Self.pair(left, right)
    var slot = Self.hash(pair) & mask
    while true {
      let entry = entries[slot]
      if entry.pair == pair { return entry.merge }
      if entry.pair == Self.noPair { return nil }
      slot = (slot + 1) & mask
    }
  }

  private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  private static func hash(_ pair: UInt64) -> Int {
    let product = pair &* 0x9E37_79B9_7F4A_7C15
    return Int(truncatingIfNeeded: (product ^ (product >> 32)) & 0x7FFF_FFFF)
  }
}
