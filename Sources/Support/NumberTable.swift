// SPDX-License-Identifier: Apache-2.0

/// A hash table whose keys are numbers that the program has chosen itself, a different one each
/// time. So a multiplication is hash enough, where `Dictionary` guards against keys that somebody
/// else chooses, for ten times the price of a look-up.
///
/// Open addressing with linear probing, at most half full. Public and inlinable, so that other
/// modules get it for their own values: what is `package` is not specialised across modules.
public struct NumberTable<Value> {
  @usableFromInline
  struct Entry {
    @usableFromInline var key: UInt64
    /// nil where the place is free.
    @usableFromInline var value: Value?

    @inlinable
    init(key: UInt64, value: Value?) {
      self.key = key
      self.value = value
    }
  }

  /// A power of two of places.
  @usableFromInline var entries = [Entry](repeating: Entry(key: 0, value: nil), count: 16)
  @usableFromInline var used = 0

  @inlinable
  public init() {}

  @inlinable
  public var count: Int { used }

  /// The keys in use, in no order.
  public var keys: [UInt64] { entries.lazy.filter { $0.value != nil }.map(\.key) }

  @inlinable
  public subscript(key: UInt64) -> Value? {
    get { entries[place(of: key)].value }
    set {
      let place = place(of: key)
      switch (entries[place].value != nil, newValue != nil) {
      case (false, true):
        entries[place] = Entry(key: key, value: newValue)
        used += 1
        if 2 * used > entries.count { grow() }
      case (true, false): remove(at: place)
      case (true, true): entries[place].value = newValue
      case (false, false): break
      }
    }
  }

  /// Where a key is, or would be put.
  @inlinable
  func place(of key: UInt64) -> Int {
    var place = home(of: key)
    while entries[place].value != nil, entries[place].key != key { place = next(place) }
    return place
  }

  /// Where a key is unless others were there first: Fibonacci hashing (Knuth, volume 3, 6.4).
  @inlinable
  func home(of key: UInt64) -> Int {
    Int((key &* 0x9E37_79B9_7F4A_7C15) >> 32) & (entries.count - 1)
  }

  @inlinable
  func next(_ place: Int) -> Int { (place + 1) & (entries.count - 1) }

  /// Frees a place, and moves up those behind it that it had pushed away from theirs.
  @usableFromInline
  mutating func remove(at place: Int) {
    var free = place
    entries[free].value = nil
    used -= 1
    var other = next(free)
    while entries[other].value != nil {
      let distance = (other - home(of: entries[other].key)) & (entries.count - 1)
      if distance >= (other - free) & (entries.count - 1) {
        entries.swapAt(free, other)
        free = other
      }
      other = next(other)
    }
  }

  @usableFromInline
  mutating func grow() {
    let old = entries
    entries = Array(repeating: Entry(key: 0, value: nil), count: 2 * old.count)
    for entry in old where entry.value != nil { entries[place(of: entry.key)] = entry }
  }
}

extension NumberTable.Entry: Sendable where Value: Sendable {}
extension NumberTable: Sendable where Value: Sendable {}
