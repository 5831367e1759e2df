// SPDX-License-Identifier: Apache-2.0

/// The name of a sequence within an engine; never used twice.
package struct SequenceID: Hashable, Sendable, CustomStringConvertible {
  package let value: UInt64

  package init(_ value: UInt64) { self.value = value }

  package var description: String { "sequence \(value)" }
}

/// Which tokens of a sequence's rows need logits.
package enum OutputRows: Hashable, Sendable {
  /// None: a chunk in the middle of a prompt.
  case none
  /// The last: the next token is to be sampled.
  case last
  /// Every one: `silica logits`, prompt log-probabilities.
  case all
}

/// A sequence's share of a step: some of its tokens, one row each.
package struct StepSequence: Hashable, Sendable {
  package var id: SequenceID
  /// The rows of the step that hold its tokens.
  package var rows: Range<Int>
  /// The position of the first of those tokens within the sequence.
  package var firstPosition: Int
  /// Cache blocks of the whole sequence so far, these tokens included, in order of position. With
  /// `n` context slices, block `i` is on slice `i % n`, under this id in that slice's memory.
  package var blocks: [Int32]
  package var outputs: OutputRows

  package init(
    id: SequenceID, rows: Range<Int>, firstPosition: Int, blocks: [Int32], outputs: OutputRows
  ) {
    self.id = id
    self.rows = rows
    self.firstPosition = firstPosition
    self.blocks = blocks
    self.outputs = outputs
  }

  /// How many of its rows give logits.
  package var outputCount: Int {
    switch outputs {
    case .none: 0
    case .last: 1
    case .all: rows.count
    }
  }
}

/// What every executor does in one step: plain data, made by the scheduler, never changed.
package struct StepPlan: Hashable, Sendable {
  /// Counts up by one a plan.
  package var id: UInt64
  /// Token ids, one a row: `[rows]`.
  package var tokens: [Int32]
  /// In order of rows, without gaps or overlap.
  package var sequences: [StepSequence]

  package init(id: UInt64, tokens: [Int32], sequences: [StepSequence]) {
    self.id = id
    self.tokens = tokens
    self.sequences = sequences
  }

  package var rowCount: Int { tokens.count }
  package var outputCount: Int { sequences.reduce(0) { $0 + $1.outputCount } }
}
