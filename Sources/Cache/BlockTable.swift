// SPDX-License-Identifier: Apache-2.0

/// The blocks of one sequence in order of position: block `i` holds the keys and values of tokens
/// `i * blockTokens ..< (i + 1) * blockTokens`. Changed by `KVCache` only.
package struct BlockTable: Sendable {
  /// With `n` slices, block `i` is on slice `i % n`, under this id there.
  package internal(set) var blocks: [Int32] = []
  /// Leading blocks that are in the prefix index.
  package internal(set) var indexedCount = 0
  /// Whether further blocks may enter the index: false once a block could not.
  package internal(set) var isIndexable = true
  /// Blocks by position and id that were exchanged for equal ones of the index, and that steps
  /// under way may still read.
  var exchanged: [(position: Int, block: Int32)] = []

  package init() {}

  package var isEmpty: Bool { blocks.isEmpty && exchanged.isEmpty }
}
