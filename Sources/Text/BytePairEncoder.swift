// SPDX-License-Identifier: Apache-2.0

/// Byte-pair encoding of one piece of text after another: starting from single bytes, the pair
/// with the lowest rank merges, the leftmost first, until none is left (Sennrich et al. 2016).
///
/// Short pieces are scanned for each merge; long ones use a heap, so that a piece of `n` bytes
/// takes O(n log n) whatever it holds. Holds working memory: for one thread at a time.
struct BytePairEncoder {
  private static let scanCountMax = 48

  private let model: BytePairModel
  private let merges: MergeTable
  private let wholePieces: ByteStringTable?
  private var symbols: [Symbol] = []
  private var heap: [Candidate] = []

  /// A token of the piece; those that were merged into their left neighbour are unlinked.
  private struct Symbol {
    var token: Int32
    /// The merge with the next symbol (scan) or the index of the previous symbol (heap).
    var rank: UInt32 = 0
    var previous: Int32 = 0
    var next: Int32 = 0
  }

  /// A merge that may be done: of `left` at index `position` with `right` behind it.
  private struct Candidate {
    var rank: UInt32
    var position: Int32
    var left: Int32
    var right: Int32
    var token: Int32

    func isBefore(_ other: Candidate) -> Bool {
      rank != other.rank ? rank < other.rank : position < other.position
    }
  }

  /// - Parameter mayUseAddedTokens: whether text may become an added token by merges.
  init(_ model: BytePairModel, mayUseAddedTokens: Bool) {
    self.model = model
    merges = mayUseAddedTokens ? model.merges : model.plainMerges
    wholePieces = mayUseAddedTokens ? model.wholePieces : model.plainWholePieces
  }

  /// Appends the tokens of a piece to `ids`.
  mutating func encode(_ piece: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
    if let id = wholePieces?[piece] { return ids.append(id) }
    symbols.removeAll(keepingCapacity: true)
    addBytes(of: piece)
    if symbols.count <= Self.scanCountMax { mergeByScan() } else { mergeByHeap() }
    for symbol in symbols where symbol.token >= 0 { ids.append(symbol.token) }
  }

  /// One symbol a byte. A byte that has no token becomes the unknown token.
  private mutating func addBytes(of piece: UnsafeBufferPointer<UInt8>) {
    var previousIsUnknown = false
    for byte in piece {
      let token = model.byteTokens[Int(byte)]
      if token >= 0 {
        symbols.append(Symbol(token: token))
        previousIsUnknown = false
      } else if let unknown = model.unknownToken, !(previousIsUnknown && model.fusesUnknown) {
        symbols.append(Symbol(token: unknown))
        previousIsUnknown = true
      }
    }
  }

  // MARK: Short pieces

  private static let noMerge = UInt32.max

  private mutating func mergeByScan() {
    guard symbols.count > 1 else { return }
    for index in symbols.indices { symbols[index].rank = rank(at: index) }
    while true {
      var best = Self.noMerge
      var position = 0
      for index in symbols.indices where symbols[index].rank < best {
        best = symbols[index].rank
        position = index
      }
      guard best != Self.noMerge,
        let merge = merges.merge(symbols[position].token, symbols[position + 1].token)
      else { return }
      symbols[position].token = merge.token
      symbols.remove(at: position + 1)
      symbols[position].rank = rank(at: position)
      if position > 0 { symbols[position - 1].rank = rank(at: position - 1) }
    }
  }

  private func rank(at index: Int) -> UInt32 {
    guard index + 1 < symbols.count else { return Self.noMerge }
    return merges.merge(symbols[index].token, symbols[index + 1].token)?.rank ?? Self.noMerge
  }

  // MARK: Long pieces

  private static let unlinked: Int32 = -1

  private mutating func mergeByHeap() {
    heap.removeAll(keepingCapacity: true)
    for index in symbols.indices {
      symbols[index].previous = Int32(index) - 1
      symbols[index].next = index + 1 < symbols.count ? Int32(index + 1) : Self.unlinked
    }
    for index in symbols.indices { addCandidate(at: Int32(index)) }
    while let candidate = popCandidate() {
      let position = Int(candidate.position)
      let next = symbols[position].next
      // What stood here may have merged with something else meanwhile.
      guard symbols[position].token == candidate.left, next != Self.unlinked,
        symbols[Int(next)].token == candidate.right
      else { continue }
      symbols[position].token = candidate.token
      unlink(Int(next))
      addCandidate(at: candidate.position)
      if symbols[position].previous >= 0 { addCandidate(at: symbols[position].previous) }
    }
  }

  private mutating func unlink(_ index: Int) {
    let symbol = symbols[index]
    symbols[Int(symbol.previous)].next = symbol.next
    if symbol.next != Self.unlinked { symbols[Int(symbol.next)].previous = symbol.previous }
    symbols[index].token = Self.unlinked
  }

  private mutating func addCandidate(at position: Int32) {
    let left = symbols[Int(position)]
    guard left.next != Self.unlinked else { return }
    let right = symbols[Int(left.next)].token
    guard let merge = merges.merge(left.token, right) else { return }
    heap.append(
      Candidate(
        rank: merge.rank, position: position, left: left.token, right: right, token: merge.token))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].isBefore(heap[parent]) else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func popCandidate() -> Candidate? {
    guard let first = heap.first, let last = heap.popLast() else { return nil }
    guard !heap.isEmpty else { return first }
    heap[0] = last
    var parent = 0
    while true {
      var child = parent * 2 + 1
      guard child < heap.count else { return first }
      if child + 1 < heap.count && heap[child + 1].isBefore(heap[child]) { child += 1 }
      guard heap[child].isBefore(heap[parent]) else { return first }
      heap.swapAt(child, parent)
      parent = child
    }
  }
}
