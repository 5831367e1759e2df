// SPDX-License-Identifier: Apache-2.0

/// The automaton of Aho and Corasick (1975): after each byte, the state is the longest suffix of
/// the text that begins one of the words.
struct StopAutomaton: Sendable {
  struct Match {
    let stop: Int
    /// In bytes.
    let length: Int
  }

  private struct Node {
    var depth: Int
    /// The state of the longest proper suffix.
    var suffix = 0
    /// The longest word that ends here.
    var match: Match?
  }

  private var nodes = [Node(depth: 0)]
  /// State and byte to the longer state.
  private var edges: [UInt64: Int] = [:]

  /// - Parameter words: none of them empty; of equal ones the first counts.
  init(_ words: [[UInt8]]) {
    for (index, word) in words.enumerated() { insert(word, index) }
    linkSuffixes()
  }

  /// How many bytes of the text the state stands for.
  func depth(_ state: Int) -> Int { nodes[state].depth }

  /// The longest word that the text ends with.
  func match(at state: Int) -> Match? { nodes[state].match }

  /// The state behind one more byte; constant time on average over a text.
  func next(_ state: Int, _ byte: UInt8) -> Int {
    var state = state
    while true {
      if let longer = edges[Self.edge(state, byte)] { return longer }
      if state == 0 { return 0 }
      state = nodes[state].suffix
    }
  }

  private mutating func insert(_ word: [UInt8], _ index: Int) {
    var state = 0
    for byte in word {
      if let longer = edges[Self.edge(state, byte)] {
        state = longer
      } else {
        edges[Self.edge(state, byte)] = nodes.count
        nodes.append(Node(depth: nodes[state].depth + 1))
        state = nodes.count - 1
      }
    }
    if nodes[state].match == nil { nodes[state].match = Match(stop: index, length: word.count) }
  }

  /// Shorter states first, because longer ones build on them.
  private mutating func linkSuffixes() {
    let sorted = edges.sorted { nodes[$0.value].depth < nodes[$1.value].depth }
    for (edge, child) in sorted {
      let parent = Int(edge >> 8)
      let byte = UInt8(truncatingIfNeeded: edge)
      let suffix = parent == 0 ? 0 : next(nodes[parent].suffix, byte)
      nodes[child].suffix = suffix
      if nodes[child].match == nil { nodes[child].match = nodes[suffix].match }
    }
  }

  private static func edge(_ state: Int, _ byte: UInt8) -> UInt64 {
    UInt64(state) << 8 | UInt64(byte)
  }
}
