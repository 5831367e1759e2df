// SPDX-License-Identifier: Apache-2.0

/// A model, or a range of its layers, as a list of operations in forward order.
///
/// It is plain data: the reference device interprets it, a fast device lowers it at load, a
/// slice is a range or a rewrite of it. Built with `ProgramBuilder`.
package struct Program: Hashable, Sendable {
  /// What flows in: token ids, or (beside them) the hidden state that an earlier stage left.
  package enum Input: Hashable, Sendable {
    case tokens
    case hidden(ValueID)
  }

  /// What flows out: logits in the row space `.outputs`, or the hidden state for the next stage.
  package enum Output: Hashable, Sendable {
    case logits(ValueID)
    case hidden(ValueID)
  }

  package var name: String
  package var vocabularySize: Int
  /// Positions that the model was made for.
  package var contextLength: Int
  package var values: [Value]
  package var caches: [CacheShape]
  package var operations: [Operation]
  /// The operations of each layer, in order and without gaps between them. What comes before the
  /// first is the prologue (embedding), what follows the last is the epilogue (norm and head).
  package var layers: [Range<Int>]
  package var input: Input
  package var output: Output

  package init(
    name: String, vocabularySize: Int, contextLength: Int, values: [Value], caches: [CacheShape],
    operations: [Operation], layers: [Range<Int>], input: Input, output: Output
  ) {
    self.name = name
    self.vocabularySize = vocabularySize
    self.contextLength = contextLength
    self.values = values
    self.caches = caches
    self.operations = operations
    self.layers = layers
    self.input = input
    self.output = output
  }

  package subscript(value: ValueID) -> Value { values[value.index] }
  package subscript(cache: CacheID) -> CacheShape { caches[cache.index] }

  /// Floats that all caches together keep of one token.
  package var cacheWidth: Int { caches.reduce(0) { $0 + $1.width } }

  /// Every stored weight, each once, in order of first use.
  package var weights: [Weight] {
    var seen = Set<String>()
    return operations.flatMap(\.weights).filter { seen.insert($0.name).inserted }
  }
}
