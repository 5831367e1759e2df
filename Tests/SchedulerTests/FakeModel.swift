// SPDX-License-Identifier: Apache-2.0

import Step

/// A model whose every token depends on all tokens before it, and a device that keeps what it
/// computed in blocks. A wrong block, position or order anywhere gives another token.
struct FakeModel {
  let vocabularyCount: Int32
  let blockTokens: Int
  let sliceCount: Int
  /// For each slice and token of its blocks, the signature of the prefix that ends there.
  private var memory: [[UInt64]]

  init(vocabularyCount: Int, blockTokens: Int, blockCount: Int, sliceCount: Int) {
    self.vocabularyCount = Int32(vocabularyCount)
    self.blockTokens = blockTokens
    self.sliceCount = sliceCount
    memory = Array(
      repeating: Array(repeating: 0, count: blockCount * blockTokens), count: sliceCount)
  }

  static func signature(_ before: UInt64, _ token: Int32) -> UInt64 {
    var state = (before ^ UInt64(UInt32(bitPattern: token))) &* 0x9E37_79B9_7F4A_7C15
    state ^= state >> 32
    return state &+ 1
  }

  static func token(_ signature: UInt64, vocabularyCount: Int32) -> Int32 {
    Int32(signature % UInt64(vocabularyCount))
  }

  /// The tokens that follow a prompt.
  func continuation(of prompt: [Int32], count: Int) -> [Int32] {
    var signature: UInt64 = 0
    for token in prompt { signature = Self.signature(signature, token) }
    var tokens: [Int32] = []
    for _ in 0..<count {
      tokens.append(Self.token(signature, vocabularyCount: vocabularyCount))
      signature = Self.signature(signature, tokens[tokens.count - 1])
    }
    return tokens
  }

  /// Computes a step's rows, each from the row before it in the cache; the next tokens of those
  /// that are to have one.
  mutating func run(_ plan: StepPlan) -> [SequenceOutcome] {
    plan.sequences.map { sequence in
      var last: UInt64 = 0
      for (offset, row) in sequence.rows.enumerated() {
        let position = sequence.firstPosition + offset
        let before = position == 0 ? 0 : self[sequence.blocks, position - 1]
        last = Self.signature(before, plan.tokens[row])
        self[sequence.blocks, position] = last
      }
      guard sequence.outputs == .last else { return .computed }
      return .sampled(SampledToken(id: Self.token(last, vocabularyCount: vocabularyCount)))
    }
  }

  private subscript(blocks: [Int32], position: Int) -> UInt64 {
    get {
      let (slice, index) = place(blocks, position)
      return memory[slice][index]
    }
    set {
      let (slice, index) = place(blocks, position)
      memory[slice][index] = newValue
    }
  }

  private func place(_ blocks: [Int32], _ position: Int) -> (slice: Int, index: Int) {
    let block = position / blockTokens
    return (block % sliceCount, Int(blocks[block]) * blockTokens + position % blockTokens)
  }
}
