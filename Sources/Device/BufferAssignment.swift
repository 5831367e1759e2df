// SPDX-License-Identifier: Apache-2.0

package import Program

/// Which buffer each value of a program lives in, so that values which are never needed at the same
/// time share memory. A pure function of the program.
///
/// A value lives from the operation that writes it (or, if none does, from its first reader: it is
/// written from outside just before) to its last reader. Values share a buffer only within one
/// kind and row space, and never with an input of the operation that writes them.
package struct BufferAssignment: Hashable, Sendable {
  /// A buffer: `[rows of its row space, width]`.
  package struct Buffer: Hashable, Sendable {
    package var kind: ValueKind
    package var rows: RowSpace
    /// The widest of its values.
    package var width: Int
    fileprivate var isFree = false
  }

  package private(set) var buffers: [Buffer] = []
  /// For each value of the program, the index of its buffer; nil for a value nothing uses.
  private var bufferOfValue: [Int?]

  /// - Parameter groups: operations that a device does at once: what one of them reads is still
  ///   needed while another writes. In rising order; those that hold others behind all of these.
  package init(_ program: Program, fused groups: [Range<Int>] = []) {
    bufferOfValue = Array(repeating: nil, count: program.values.count)
    let lives = Self.lives(of: program, fused: groups)
    for index in program.operations.indices {
      for value in lives.born[index] { place(program[value], value) }
      for value in lives.dying[index] { free(value) }
    }
  }

  /// The buffer of a value that the program uses.
  package subscript(value: ValueID) -> Int? { bufferOfValue[value.index] }

  private mutating func place(_ value: Value, _ id: ValueID) {
    let candidates = buffers.indices.filter {
      buffers[$0].isFree && buffers[$0].kind == value.kind && buffers[$0].rows == value.rows
    }
    // The narrowest that is wide enough, or else the widest, which grows least.
    let fitting = candidates.filter { buffers[$0].width >= value.width }
      .min { buffers[$0].width < buffers[$1].width }
    if let index = fitting ?? candidates.max(by: { buffers[$0].width < buffers[$1].width }) {
      buffers[index].width = max(buffers[index].width, value.width)
      buffers[index].isFree = false
      bufferOfValue[id.index] = index
    } else {
      buffers.append(Buffer(kind: value.kind, rows: value.rows, width: value.width))
      bufferOfValue[id.index] = buffers.count - 1
    }
  }

  private mutating func free(_ value: ValueID) {
    if let index = bufferOfValue[value.index] { buffers[index].isFree = true }
  }

  /// For each operation, the values whose lives begin at it and end after it.
  private static func lives(
    of program: Program, fused groups: [Range<Int>]
  ) -> (born: [[ValueID]], dying: [[ValueID]]) {
    var begins = Array(program.operations.indices)
    var ends = begins
    for group in groups {
      for index in group {
        begins[index] = group.lowerBound
        ends[index] = group.upperBound - 1
      }
    }
    var first = [Int?](repeating: nil, count: program.values.count)
    var last = [Int](repeating: -1, count: program.values.count)
    if case .hidden(let value) = program.input { first[value.index] = 0 }
    for (index, operation) in program.operations.enumerated() {
      for value in operation.reads + operation.writes {
        first[value.index] = first[value.index] ?? begins[index]
        last[value.index] = ends[index]
      }
    }
    switch program.output {
    case .logits(let value), .hidden(let value):
      // Read from outside when all is done.
      last[value.index] = program.operations.count
    }
    var born = [[ValueID]](repeating: [], count: program.operations.count)
    var dying = born
    for index in program.values.indices {
      guard let start = first[index] else { continue }
      born[start].append(ValueID(index: index))
      if last[index] < program.operations.count { dying[last[index]].append(ValueID(index: index)) }
    }
    return (born, dying)
  }
}
