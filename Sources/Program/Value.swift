// SPDX-License-Identifier: Apache-2.0

/// The name of an intermediate result of a program. Values are written once, except where an
/// operation says that it works in place.
package struct ValueID: Hashable, Sendable, CustomStringConvertible {
  package let index: Int

  package init(index: Int) { self.index = index }

  package var description: String { "%\(index)" }
}

/// What a value holds in each of its rows.
package enum ValueKind: Hashable, Sendable {
  /// `width` 32-bit floats a row.
  case floats
  /// The experts chosen for a row and their weights: `width` pairs (expert index, weight).
  case routing
}

/// Which rows a value has in a step.
package enum RowSpace: Hashable, Sendable {
  /// One row for each token of the step.
  case tokens
  /// One row for each token of the step whose logits were asked for.
  case outputs
}

/// The shape of a value: `[rows, width]`, rows decided by the step.
package struct Value: Hashable, Sendable {
  package var label: String
  package var width: Int
  package var kind: ValueKind
  package var rows: RowSpace

  package init(label: String, width: Int, kind: ValueKind = .floats, rows: RowSpace = .tokens) {
    self.label = label
    self.width = width
    self.kind = kind
    self.rows = rows
  }
}

/// Some columns of a value: `count` groups of `width` columns, `stride` columns apart, the first
/// at `offset`. A head of attention is one group.
package struct Columns: Hashable, Sendable {
  package var value: ValueID
  package var offset: Int
  package var width: Int
  package var count: Int
  package var stride: Int

  /// `width` neighbouring columns.
  package init(_ value: ValueID, offset: Int = 0, width: Int) {
    self.init(value, offset: offset, width: width, count: 1, stride: width)
  }

  /// `count` heads, each `width` columns of a `stride` wide group.
  package init(_ value: ValueID, offset: Int = 0, width: Int, count: Int, stride: Int) {
    self.value = value
    self.offset = offset
    self.width = width
    self.count = count
    self.stride = stride
  }

  /// One past the last column used.
  package var end: Int { offset + (count - 1) * stride + width }
}

/// The name of one layer's key-value cache.
package struct CacheID: Hashable, Sendable {
  package let index: Int

  package init(index: Int) { self.index = index }
}

/// What one layer keeps of every token: a key row and a value row, in floats. Latent attention
/// keeps one row for both: its values are the first columns of its keys, and `valueWidth` is 0.
package struct CacheShape: Hashable, Sendable {
  package var keyWidth: Int
  package var valueWidth: Int

  package init(keyWidth: Int, valueWidth: Int) {
    self.keyWidth = keyWidth
    self.valueWidth = valueWidth
  }

  /// Floats kept of one token.
  package var width: Int { keyWidth + valueWidth }
}
