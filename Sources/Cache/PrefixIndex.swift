// SPDX-License-Identifier: Apache-2.0

import Support

/// Finds full, computed blocks by the tokens they hold and all tokens before them.
///
/// A block's key is a hash of its tokens and of its parent's key. A hit counts only if the tokens
/// and the parent are the very same, so a collision of hashes costs a reuse and never serves wrong
/// keys. A parent is in the index as long as its children are: only leaves leave, the one unused
/// for longest first. Blocks are named by a number across all slices.
package struct PrefixIndex: Sendable {
  /// The parent of first blocks; as a list link, the end.
  package static let none: Int32 = -1

  package typealias Hash = @Sendable (_ parent: UInt64, _ tokens: ArraySlice<Int32>) -> UInt64

  private struct Node {
    var key: UInt64 = 0
    var parent = PrefixIndex.none
    var childCount: Int32 = 0
    var isIndexed = false
    var isIdle = false
    /// Neighbours in the list of idle leaves.
    var older = PrefixIndex.none
    var newer = PrefixIndex.none
  }

  private let blockTokens: Int
  private let hash: Hash
  private var nodes: [Node]
  /// `[blocks, blockTokens]`
  private var tokens: [Int32]
  private var blockOfKey: [UInt64: Int32] = [:]
  /// Ends of the list of leaves that no sequence holds.
  private var oldest = PrefixIndex.none
  private var newest = PrefixIndex.none

  package init(blockTokens: Int, blockCount: Int, hash: @escaping Hash = PrefixIndex.chainHash) {
    self.blockTokens = blockTokens
    self.hash = hash
    nodes = Array(repeating: Node(), count: blockCount)
    tokens = Array(repeating: 0, count: blockCount * blockTokens)
    blockOfKey.reserveCapacity(blockCount)
  }

  package func isIndexed(_ block: Int32) -> Bool { nodes[Int(block)].isIndexed }

  /// The block that holds `content` after the chain that ends in `parent`.
  package func find(_ content: ArraySlice<Int32>, after parent: Int32) -> Int32? {
    guard let block = blockOfKey[key(content, after: parent)],
      nodes[Int(block)].parent == parent, holds(block, content)
    else { return nil }
    return block
  }

  /// Puts a block that some sequence holds into the index; false if another one has its key.
  package mutating func insert(
    _ block: Int32, holding content: ArraySlice<Int32>, after parent: Int32
  ) -> Bool {
    check(content.count == blockTokens, "a block of \(content.count) tokens")
    check(!nodes[Int(block)].isIndexed, "block \(block) is indexed twice")
    let key = key(content, after: parent)
    guard blockOfKey[key] == nil else { return false }
    blockOfKey[key] = block
    nodes[Int(block)] = Node(key: key, parent: parent, isIndexed: true)
    if parent != PrefixIndex.none { nodes[Int(parent)].childCount += 1 }
    let start = Int(block) * blockTokens
    for (offset, token) in content.enumerated() { tokens[start + offset] = token }
    return true
  }

  /// No sequence holds the block any more: it may be evicted once it is a leaf.
  package mutating func makeIdle(_ block: Int32) {
    nodes[Int(block)].isIdle = true
    if nodes[Int(block)].childCount == 0 { appendNewest(block) }
  }

  /// A sequence holds the block again.
  package mutating func makeUsed(_ block: Int32) {
    if nodes[Int(block)].childCount == 0 { unlink(block) }
    nodes[Int(block)].isIdle = false
  }

  /// Takes the idle leaf that is unused for longest out of the index. Its parent, if idle, is the
  /// next to go: it was not used later.
  package mutating func evict() -> Int32? {
    let block = oldest
    guard block != PrefixIndex.none else { return nil }
    unlink(block)
    let node = nodes[Int(block)]
    blockOfKey[node.key] = nil
    nodes[Int(block)] = Node()
    if node.parent != PrefixIndex.none {
      nodes[Int(node.parent)].childCount -= 1
      let parent = nodes[Int(node.parent)]
      if parent.isIdle && parent.childCount == 0 { prependOldest(node.parent) }
    }
    return block
  }

  // MARK: Keys

  /// Mixes tokens into a parent's key; 0 is the key before the first block.
  package static let chainHash: Hash = { parent, tokens in
    var state = parent ^ 0x9E37_79B9_7F4A_7C15
    for token in tokens {
      state = (state ^ UInt64(UInt32(bitPattern: token))) &* 0xBF58_476D_1CE4_E5B9
      state ^= state >> 29
    }
    state = state &* 0x94D0_49BB_1331_11EB
    return state ^ (state >> 31)
  }

  private func key(_ content: ArraySlice<Int32>, after parent: Int32) -> UInt64 {
    hash(parent == PrefixIndex.none ? 0 : nodes[Int(parent)].key, content)
  }

  private func holds(_ block: Int32, _ content: ArraySlice<Int32>) -> Bool {
    let start = Int(block) * blockTokens
    return tokens[start..<start + blockTokens].elementsEqual(content)
  }

  // MARK: The list of idle leaves

  private mutating func appendNewest(_ block: Int32) {
    nodes[Int(block)].older = newest
    nodes[Int(block)].newer = PrefixIndex.none
    if newest == PrefixIndex.none { oldest = block } else { nodes[Int(newest)].newer = block }
    newest = block
  }

  private mutating func prependOldest(_ block: Int32) {
    nodes[Int(block)].older = PrefixIndex.none
    nodes[Int(block)].newer = oldest
    if oldest == PrefixIndex.none { newest = block } else { nodes[Int(oldest)].older = block }
    oldest = block
  }

  private mutating func unlink(_ block: Int32) {
    let node = nodes[Int(block)]
    if node.older == PrefixIndex.none {
      oldest = node.newer
    } else {
      nodes[Int(node.older)].newer = node.newer
    }
    if node.newer == PrefixIndex.none {
      newest = node.older
    } else {
      nodes[Int(node.newer)].older = node.older
    }
    nodes[Int(block)].older = PrefixIndex.none
    nodes[Int(block)].newer = PrefixIndex.none
  }
}
