// SPDX-License-Identifier: Apache-2.0

import Cache
import TestSupport
import Testing

/// The tokens of `count` positions, from `first` on.
private func tokens(_ count: Int, _ first: Int32 = 0) -> [Int32] {
  (0..<Int32(count)).map { $0 + first }
}

extension KVCache {
  /// A table of a sequence with these tokens, all computed.
  fileprivate mutating func filled(_ tokens: [Int32]) -> BlockTable {
    var table = BlockTable()
    _ = reuse(&table, tokens: tokens, tokenLimit: tokens.count)
    #expect(extend(&table, toTokens: tokens.count))
    register(&table, tokens: tokens, computedCount: tokens.count)
    return table
  }
}

@Suite struct BlockPoolTests {
  @Test("Blocks are given out once, counted, and free again when reclaimed")
  func countsReferences() {
    var pool = BlockPool(blockCount: 2)
    #expect(pool.allocate() == 0)
    #expect(pool.allocate() == 1)
    #expect(pool.allocate() == nil)
    pool.retain(1)
    let first = pool.release(1)
    let second = pool.release(1)
    #expect((first, second) == (false, true))
    #expect(pool.freeCount == 0)
    pool.reclaim(1)
    #expect(pool.freeCount == 1)
    #expect(pool.allocate() == 1)
  }
}

@Suite struct KVCacheTests {
  @Test("Block i of a sequence is on slice i % n, and each slice counts its own")
  func slicesTakeTurns() {
    var cache = KVCache(blockTokens: 2, blockCount: 4, sliceCount: 3)
    var table = BlockTable()
    #expect(cache.extend(&table, toTokens: 9))
    #expect(table.blocks == [0, 0, 0, 1, 1])
    #expect((0..<3).map { cache.freeCount(slice: $0) } == [2, 2, 3])
    #expect((0..<3).map { cache.count(of: 1..<5, slice: $0) } == [1, 2, 1])
    #expect(cache.usedCount == 5)
    cache.release(&table)
    #expect(cache.usedCount == 0)
    #expect(table.isEmpty)
  }

  @Test("A sequence gets all the blocks it asks for, or none")
  func extendingIsAllOrNothing() {
    var cache = KVCache(blockTokens: 2, blockCount: 2, sliceCount: 2)
    var table = BlockTable()
    #expect(!cache.extend(&table, toTokens: 9))
    #expect(cache.usedCount == 0)
    #expect(cache.extend(&table, toTokens: 8))
    var other = BlockTable()
    #expect(!cache.extend(&other, toTokens: 1))
  }

  @Test("Full, computed blocks are found again after their sequence is gone; others are not")
  func prefixesAreFound() {
    var cache = KVCache(blockTokens: 4, blockCount: 8, sliceCount: 1)
    var first = BlockTable()
    #expect(cache.extend(&first, toTokens: 15))
    cache.register(&first, tokens: tokens(15), computedCount: 10)
    #expect(first.indexedCount == 2)
    let blocks = first.blocks
    cache.release(&first)
    #expect((cache.freeCount(slice: 0), cache.keptCount(slice: 0)) == (6, 2))

    var second = BlockTable()
    #expect(cache.reuse(&second, tokens: tokens(15), tokenLimit: 15) == 8)
    #expect(second.blocks == Array(blocks[..<2]))
    #expect(cache.keptCount(slice: 0) == 0)
    var third = BlockTable()
    #expect(cache.reuse(&third, tokens: tokens(8), tokenLimit: 7) == 4)
    #expect(cache.referenceCount(blocks[0], slice: 0) == 2)
    // The same tokens after others are not the same block.
    var fourth = BlockTable()
    #expect(cache.reuse(&fourth, tokens: tokens(4, 4) + tokens(4), tokenLimit: 8) == 0)
  }

  @Test("A collision of hashes never serves the blocks of other tokens")
  func collisionsAreHarmless() {
    var cache = KVCache(blockTokens: 2, blockCount: 8, sliceCount: 1) { _, _ in 7 }
    var first = cache.filled(tokens(6))
    #expect((first.indexedCount, first.isIndexable) == (1, false))
    var second = BlockTable()
    #expect(cache.reuse(&second, tokens: tokens(2, 50), tokenLimit: 2) == 0)
    #expect(cache.reuse(&second, tokens: tokens(6), tokenLimit: 6) == 2)
    cache.release(&first)
    cache.release(&second)
    #expect(cache.usedCount == 0)
  }

  @Test("Of two sequences that compute the same block one keeps it, when no step uses the other")
  func equalBlocksAreMerged() {
    var cache = KVCache(blockTokens: 2, blockCount: 8, sliceCount: 1)
    var first = BlockTable()
    var second = BlockTable()
    #expect(cache.extend(&first, toTokens: 4) && cache.extend(&second, toTokens: 6))
    cache.register(&first, tokens: tokens(4), computedCount: 4)
    cache.register(&second, tokens: tokens(6), computedCount: 6)
    #expect(second.blocks == [0, 1, 4])
    #expect(cache.usedCount == 5)
    cache.releaseExchanged(&second)
    #expect(cache.usedCount == 3)
    cache.release(&first)
    #expect(cache.usedCount == 3)
    cache.release(&second)
    #expect((cache.freeCount(slice: 0), cache.keptCount(slice: 0)) == (5, 3))
  }

  @Test("Memory is taken from the blocks unused for longest, the ends of chains before their heads")
  func evictionTakesLeavesFirst() {
    var cache = KVCache(blockTokens: 1, blockCount: 6, sliceCount: 1)
    var old = cache.filled(tokens(3))
    var new = cache.filled(tokens(3, 10))
    cache.release(&old)
    cache.release(&new)
    #expect(cache.keptCount(slice: 0) == 6)
    var table = BlockTable()
    #expect(cache.extend(&table, toTokens: 2))
    var probe = BlockTable()
    #expect(cache.reuse(&probe, tokens: tokens(3), tokenLimit: 3) == 1)
    #expect(cache.reuse(&probe, tokens: [0] + tokens(3, 10), tokenLimit: 4) == 0)
    var whole = BlockTable()
    #expect(cache.reuse(&whole, tokens: tokens(3, 10), tokenLimit: 3) == 3)
    // All but the two of `table` are held now: nothing is left.
    #expect(!cache.extend(&table, toTokens: 3))
  }

  @Test("Using a kept block again saves it from being the next to go")
  func reuseRefreshes() {
    var cache = KVCache(blockTokens: 1, blockCount: 2, sliceCount: 1)
    var first = cache.filled([1])
    var second = cache.filled([2])
    cache.release(&first)
    cache.release(&second)
    var again = cache.filled([1])
    cache.release(&again)
    var other = BlockTable()
    #expect(cache.extend(&other, toTokens: 1))
    var probe = BlockTable()
    #expect(cache.reuse(&probe, tokens: [2], tokenLimit: 1) == 0)
    #expect(cache.reuse(&probe, tokens: [1], tokenLimit: 1) == 1)
  }

  @Test("A block needed on one slice is found even when chains end on others")
  func evictionReachesOtherSlices() {
    var cache = KVCache(blockTokens: 1, blockCount: 2, sliceCount: 4)
    var table = cache.filled(tokens(8))
    cache.release(&table)
    var short = [BlockTable(), BlockTable()]
    for index in short.indices { #expect(cache.extend(&short[index], toTokens: 1)) }
    #expect(cache.availableCount(slice: 0) == 0)
    #expect((1..<4).map { cache.availableCount(slice: $0) } == [2, 2, 2])
  }

  @Test("Whatever the order of operations, blocks hold what their sequences computed")
  func randomOperationsKeepContents() {
    for seed in 0..<UInt64(200) {
      var random = SeededGenerator(seed: seed)
      var model = RandomCacheUse(&random)
      for _ in 0..<200 { model.step(&random) }
      model.finish()
    }
  }
}

/// Sequences with random tokens on a small cache whose memory is simulated.
private struct RandomCacheUse {
  private struct User {
    var tokens: [Int32]
    var computed = 0
    var table = BlockTable()
  }

  private var cache: KVCache
  /// For each slice and token of its blocks, the tokens that the cached one follows, and itself.
  private var memory: [[[Int32]]]
  private var users: [User] = []

  init(_ random: inout SeededGenerator) {
    let blockCount = Int.random(in: 2...8, using: &random)
    let sliceCount = Int.random(in: 1...3, using: &random)
    let blockTokens = Int.random(in: 1...3, using: &random)
    // A third of the runs have hashes that collide often.
    if Int.random(in: 0..<3, using: &random) == 0 {
      cache = KVCache(blockTokens: blockTokens, blockCount: blockCount, sliceCount: sliceCount) {
        PrefixIndex.chainHash($0, $1) % 5
      }
    } else {
      cache = KVCache(blockTokens: blockTokens, blockCount: blockCount, sliceCount: sliceCount)
    }
    memory = Array(
      repeating: Array(repeating: [], count: blockCount * blockTokens), count: sliceCount)
  }

  mutating func step(_ random: inout SeededGenerator) {
    if users.isEmpty || Int.random(in: 0..<3, using: &random) == 0 {
      let count = Int.random(in: 1...14, using: &random)
      users.append(User(tokens: (0..<count).map { _ in .random(in: 0..<2, using: &random) }))
    }
    let index = Int.random(in: 0..<users.count, using: &random)
    if Int.random(in: 0..<4, using: &random) == 0 {
      var user = users.remove(at: index)
      cache.release(&user.table)
      return
    }
    compute(index, count: .random(in: 1...5, using: &random))
    for user in users { verify(user) }
  }

  mutating func finish() {
    for index in users.indices { cache.release(&users[index].table) }
    #expect(cache.usedCount == 0)
  }

  private mutating func compute(_ index: Int, count: Int) {
    var user = users[index]
    if user.table.isIndexable, user.table.indexedCount == user.table.blocks.count {
      user.computed += cache.reuse(
        &user.table, tokens: user.tokens, tokenLimit: user.tokens.count)
    }
    let end = min(user.computed + count, user.tokens.count)
    if end > user.computed, cache.extend(&user.table, toTokens: end) {
      for position in user.computed..<end {
        let (slice, place) = place(user.table, position)
        memory[slice][place] = Array(user.tokens[...position])
      }
      user.computed = end
      cache.register(&user.table, tokens: user.tokens, computedCount: end)
      cache.releaseExchanged(&user.table)
    }
    users[index] = user
  }

  private func verify(_ user: User) {
    for position in 0..<user.computed {
      let (slice, place) = place(user.table, position)
      #expect(memory[slice][place] == Array(user.tokens[...position]))
    }
  }

  private func place(_ table: BlockTable, _ position: Int) -> (slice: Int, place: Int) {
    let block = position / cache.blockTokens
    return (
      block % cache.sliceCount,
      Int(table.blocks[block]) * cache.blockTokens + position % cache.blockTokens
    )
  }
}
