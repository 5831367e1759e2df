// SPDX-License-Identifier: Apache-2.0

import Support

/// Who holds which block of the KV memory: one pool for each context slice, and one index of
/// prefixes over all of them. It knows ids only; the memory is the devices'.
///
/// Block `i` of a sequence lives on slice `i % sliceCount`. A block that no sequence holds is
/// either free or kept for reuse, and then evicted when its memory is needed.
///
/// Whoever holds a block of the index holds all blocks before it. So every kept block can be
/// evicted, and `availableCount` is exact.
package struct KVCache: Sendable {
  package let blockTokens: Int
  private var pools: [BlockPool]
  private var index: PrefixIndex
  /// Blocks of each slice that no sequence holds and that are kept for reuse.
  private var keptCounts: [Int]

  /// `blockCount` blocks on each of `sliceCount` slices.
  package init(
    blockTokens: Int, blockCount: Int, sliceCount: Int,
    hash: @escaping PrefixIndex.Hash = PrefixIndex.chainHash
  ) {
    check(blockTokens > 0 && sliceCount > 0, "\(blockTokens) tokens, \(sliceCount) slices")
    self.blockTokens = blockTokens
    pools = Array(repeating: BlockPool(blockCount: blockCount), count: sliceCount)
    index = PrefixIndex(
      blockTokens: blockTokens, blockCount: blockCount * sliceCount, hash: hash)
    keptCounts = Array(repeating: 0, count: sliceCount)
  }

  package var sliceCount: Int { pools.count }
  /// Blocks of one slice.
  package var blockCount: Int { pools[0].blockCount }
  /// Tokens of the longest sequence that fits when it is alone.
  package var tokenCountMax: Int { blockCount * sliceCount * blockTokens }

  package func freeCount(slice: Int) -> Int { pools[slice].freeCount }
  package func keptCount(slice: Int) -> Int { keptCounts[slice] }
  /// Blocks of a slice that could be given out now.
  package func availableCount(slice: Int) -> Int { pools[slice].freeCount + keptCounts[slice] }
  /// Blocks of all slices that sequences hold.
  package var usedCount: Int {
    pools.indices.reduce(0) { $0 + blockCount - availableCount(slice: $1) }
  }

  package func referenceCount(_ block: Int32, slice: Int) -> Int {
    pools[slice].referenceCount(block)
  }

  /// Blocks that hold so many tokens.
  package func blockCount(forTokens tokens: Int) -> Int {
    (tokens + blockTokens - 1) / blockTokens
  }

  /// How many of a sequence's blocks at `positions` are on a slice.
  package func count(of positions: Range<Int>, slice: Int) -> Int {
    func below(_ end: Int) -> Int { (end + sliceCount - 1 - slice) / sliceCount }
    return below(positions.upperBound) - below(positions.lowerBound)
  }

  // MARK: A sequence's blocks

  /// Gives a sequence room for so many tokens; false, and nothing changed, when blocks lack.
  package mutating func extend(_ table: inout BlockTable, toTokens tokens: Int) -> Bool {
    let end = blockCount(forTokens: tokens)
    guard end > table.blocks.count else { return true }
    let added = table.blocks.count..<end
    for slice in 0..<sliceCount
    where count(of: added, slice: slice) > availableCount(slice: slice) { return false }
    for position in added { table.blocks.append(allocate(slice: position % sliceCount)) }
    return true
  }

  /// Appends blocks of the index that hold the next tokens, full blocks below `tokenLimit`;
  /// returns how many tokens they hold. Call it only when all blocks of the table are indexed, so
  /// that the sequence goes on at the edge of a block.
  package mutating func reuse(
    _ table: inout BlockTable, tokens: [Int32], tokenLimit: Int
  ) -> Int {
    check(table.indexedCount == table.blocks.count, "reuse after blocks that are not indexed")
    let before = table.blocks.count
    while (table.blocks.count + 1) * blockTokens <= tokenLimit {
      let position = table.blocks.count
      let content = tokens[position * blockTokens..<(position + 1) * blockTokens]
      guard let number = index.find(content, after: lastIndexed(table)) else { break }
      hold(number)
      table.blocks.append(id(number))
      table.indexedCount += 1
    }
    return (table.blocks.count - before) * blockTokens
  }

  /// Whether a block has become full that `register` does not know yet.
  package func canRegister(_ table: BlockTable, computedCount: Int) -> Bool {
    table.isIndexable && (table.indexedCount + 1) * blockTokens <= computedCount
  }

  /// Puts the full blocks among the first `computedCount` tokens into the index. Where an equal
  /// block is there already, the table exchanges its own for that one; its own is released by
  /// `releaseExchanged`.
  package mutating func register(
    _ table: inout BlockTable, tokens: [Int32], computedCount: Int
  ) {
    while canRegister(table, computedCount: computedCount) {
      let position = table.indexedCount
      let content = tokens[position * blockTokens..<(position + 1) * blockTokens]
      let parent = lastIndexed(table)
      if let equal = index.find(content, after: parent) {
        table.exchanged.append((position, table.blocks[position]))
        hold(equal)
        table.blocks[position] = id(equal)
      } else if !index.insert(
        number(table.blocks[position], position: position), holding: content, after: parent)
      {
        table.isIndexable = false
        return
      }
      table.indexedCount += 1
    }
  }

  /// Releases the blocks that `register` exchanged. No step under way may use them.
  package mutating func releaseExchanged(_ table: inout BlockTable) {
    if table.exchanged.isEmpty { return }
    for (position, block) in table.exchanged { release(block, position: position) }
    table.exchanged.removeAll()
  }

  /// Releases all blocks of a sequence; those of the index are kept for reuse. No step under way
  /// may use them.
  package mutating func release(_ table: inout BlockTable) {
    releaseExchanged(&table)
    for position in table.blocks.indices.reversed() {
      release(table.blocks[position], position: position)
    }
    table = BlockTable()
  }

  // MARK: One block

  private mutating func allocate(slice: Int) -> Int32 {
    while true {
      if let block = pools[slice].allocate() { return block }
      guard let evicted = index.evict() else {
        checkFailed("slice \(slice) has no block to evict", file: #fileID, line: #line)
      }
      let owner = Int(evicted) / blockCount
      keptCounts[owner] -= 1
      pools[owner].reclaim(id(evicted))
    }
  }

  private mutating func hold(_ number: Int32) {
    let slice = Int(number) / blockCount
    if pools[slice].referenceCount(id(number)) == 0 {
      index.makeUsed(number)
      keptCounts[slice] -= 1
    }
    pools[slice].retain(id(number))
  }

  private mutating func release(_ block: Int32, position: Int) {
    let slice = position % sliceCount
    guard pools[slice].release(block) else { return }
    let number = number(block, position: position)
    if index.isIndexed(number) {
      index.makeIdle(number)
      keptCounts[slice] += 1
    } else {
      pools[slice].reclaim(block)
    }
  }

  /// The number of a block across all slices.
  private func number(_ block: Int32, position: Int) -> Int32 {
    Int32(position % sliceCount * blockCount) + block
  }

  /// The id within its slice of a numbered block.
  private func id(_ number: Int32) -> Int32 { number % Int32(blockCount) }

  private func lastIndexed(_ table: BlockTable) -> Int32 {
    let position = table.indexedCount - 1
    return position < 0 ? PrefixIndex.none : number(table.blocks[position], position: position)
  }
}
