// SPDX-License-Identifier: Apache-2.0

import Support

/// The blocks of one context slice's memory, as ids with reference counts: which are in use, and
/// which are free. Every operation takes constant time.
package struct BlockPool: Sendable {
  /// Sequences that hold each block.
  private var referenceCounts: [Int32]
  /// Blocks that hold nothing, the next one to give out last.
  private var free: [Int32]

  package init(blockCount: Int) {
    check(blockCount > 0 && blockCount <= Int(Int32.max), "a pool of \(blockCount) blocks")
    referenceCounts = Array(repeating: 0, count: blockCount)
    free = (0..<Int32(blockCount)).reversed()
  }

  package var blockCount: Int { referenceCounts.count }
  package var freeCount: Int { free.count }

  package func referenceCount(_ block: Int32) -> Int { Int(referenceCounts[Int(block)]) }

  /// A free block with one reference; nil when there is none.
  package mutating func allocate() -> Int32? {
    guard let block = free.popLast() else { return nil }
    check(referenceCounts[Int(block)] == 0, "block \(block) is free and in use")
    referenceCounts[Int(block)] = 1
    return block
  }

  package mutating func retain(_ block: Int32) {
    referenceCounts[Int(block)] += 1
  }

  /// Takes one reference away; true when that was the last. The block is not free yet: what it
  /// holds may be worth keeping.
  package mutating func release(_ block: Int32) -> Bool {
    check(referenceCounts[Int(block)] > 0, "block \(block) is released and not in use")
    referenceCounts[Int(block)] -= 1
    return referenceCounts[Int(block)] == 0
  }

  /// Makes a block without references free.
  package mutating func reclaim(_ block: Int32) {
    check(referenceCounts[Int(block)] == 0, "block \(block) is reclaimed and in use")
    free.append(block)
  }
}
