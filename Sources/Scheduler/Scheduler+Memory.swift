// SPDX-License-Identifier: Apache-2.0

import Cache

/// Who gets cache blocks, and from whom.
extension Scheduler {
  /// Gives a sequence of the batch blocks for so many tokens, if need be by taking them from
  /// others. False when they can only come once a plan under way is complete, or belong to
  /// sequences of better rank.
  ///
  /// The first of the batch can take from everyone, and fits alone; so with nothing under way it
  /// always goes on.
  mutating func reserve(_ slot: Int, tokens: Int) -> Bool {
    while !cache.extend(&sequences[slot].table, toTokens: tokens) {
      guard dropParkedBlocks(except: slot) || preemptWorst(than: slot) else { return false }
    }
    return true
  }

  /// Takes over blocks of the cache that hold the next tokens, where a sequence is at the edge of a
  /// block. At least one token is left to compute: its output is needed.
  mutating func reusePrefix(_ slot: Int) {
    let state = sequences[slot]
    guard configuration.reusesPrefixes, !state.isScoring, state.inFlightCount == 0,
      state.table.isIndexable, state.table.indexedCount == state.table.blocks.count
    else { return }
    let count = cache.reuse(
      &sequences[slot].table, tokens: state.tokens, tokenLimit: state.tokens.count - 1)
    sequences[slot].computedCount += count
    sequences[slot].plannedCount += count
    if state.generatedCount == 0 && !state.hasLostBlocks {
      sequences[slot].cachedCount += count
    }
  }

  /// Whether the head of the queue has room for all its tokens beside those of the batch. With an
  /// empty batch, blocks of paused and other waiting sequences give way.
  mutating func makeRoom(forJoining slot: Int) -> Bool {
    reusePrefix(slot)
    while !hasRoom(forJoining: slot) {
      guard running.isEmpty, dropParkedBlocks(except: slot) else { return false }
    }
    return true
  }

  /// Counts what the batch still needs for the tokens it has, and a reserve for the tokens to come:
  /// a block for each sequence, and at least a fiftieth. An empty batch needs no reserve.
  private func hasRoom(forJoining slot: Int) -> Bool {
    for slice in 0..<cache.sliceCount {
      var needed = missingCount(slot, slice: slice)
      if !running.isEmpty {
        for other in running.slots { needed += missingCount(other, slice: slice) }
        let perSequence = (running.count + cache.sliceCount - 1) / cache.sliceCount
        needed += max(perSequence, cache.blockCount / 50)
      }
      if needed > cache.availableCount(slice: slice) { return false }
    }
    return true
  }

  /// Blocks on a slice that a sequence's tokens need and that it does not hold.
  private func missingCount(_ slot: Int, slice: Int) -> Int {
    let held = sequences[slot].table.blocks.count
    let end = max(held, cache.blockCount(forTokens: sequences[slot].tokens.count))
    return cache.count(of: held..<end, slice: slice)
  }

  /// Takes the blocks of the sequence outside the batch with the worst rank, paused ones first.
  private mutating func dropParkedBlocks(except slot: Int) -> Bool {
    var victim: Int?
    for other in sequences.slots where other != slot && isParked(other) {
      if let best = victim, goesBefore(other, best) { continue }
      victim = other
    }
    guard let victim else { return false }
    dropBlocks(victim)
    return true
  }

  private func isParked(_ slot: Int) -> Bool {
    switch sequences[slot].phase {
    case .running, .ending: false
    case .waiting, .paused: sequences[slot].inFlightCount == 0 && !sequences[slot].table.isEmpty
    }
  }

  private func goesBefore(_ left: Int, _ right: Int) -> Bool {
    let (left, right) = (sequences[left], sequences[right])
    switch (left.phase, right.phase) {
    case (.waiting, .paused): return true
    case (.paused, .waiting): return false
    default: return left.rank < right.rank
    }
  }

  /// Takes the blocks of the batch's worst sequence that no step uses, if it is worse than this.
  private mutating func preemptWorst(than slot: Int) -> Bool {
    for other in running.slots.reversed() {
      if other == slot { return false }
      if sequences[other].inFlightCount == 0 && !sequences[other].table.isEmpty {
        preempt(other)
        return true
      }
    }
    return false
  }
}
