// SPDX-License-Identifier: Apache-2.0

/// Who goes first: shielded sequences, then larger priorities, then earlier arrivals. No two
/// sequences are equal, and a shielded one never falls behind a later arrival of its priority; so
/// the first of all always gets to its end.
struct Rank: Hashable, Comparable, Sendable {
  var isShielded = false
  var priority: Int32
  var order: UInt64

  static func < (left: Rank, right: Rank) -> Bool {
    if left.isShielded != right.isShielded { return left.isShielded }
    if left.priority != right.priority { return left.priority > right.priority }
    return left.order < right.order
  }
}

/// Slots of sequences in order of rank. Changes take time linear in the count (a move of memory),
/// look-ups logarithmic.
struct RankedQueue: Sendable {
  private var entries: [(rank: Rank, slot: Int)] = []

  var count: Int { entries.count }
  var isEmpty: Bool { entries.isEmpty }
  var first: Int? { entries.first?.slot }
  /// Best rank first.
  var slots: some BidirectionalCollection<Int> { entries.lazy.map(\.slot) }

  mutating func insert(_ slot: Int, rank: Rank) {
    entries.insert((rank, slot), at: position(of: rank))
  }

  mutating func remove(rank: Rank) {
    entries.remove(at: position(of: rank))
  }

  /// How many go before that rank.
  func position(of rank: Rank) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].rank < rank { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
