// SPDX-License-Identifier: Apache-2.0

/// What devices look for when they make fewer kernels of several operations.
extension Program {
  /// How many operations, or who runs the program, read each value.
  package var readerCounts: [ValueID: Int] {
    var counts: [ValueID: Int] = [:]
    for operation in operations {
      for value in operation.reads { counts[value, default: 0] += 1 }
    }
    switch output {
    case .logits(let value), .hidden(let value): counts[value, default: 0] += 1
    }
    return counts
  }

  /// The operations of a gated unit that begins at `index`: its gate, its up, both of one input,
  /// and what the first makes of the second. Nil unless nobody else reads gate and up.
  package func gatedUnit(at index: Int, readerCounts: [ValueID: Int]) -> Range<Int>? {
    guard index + 2 < operations.count,
      case .linear(let gate) = operations[index], case .linear(let up) = operations[index + 1],
      case .swiglu(let unit) = operations[index + 2],
      gate.input == up.input, gate.weight.shape == up.weight.shape,
      unit.gate == gate.output, unit.up == up.output,
      readerCounts[unit.gate] == 1, readerCounts[unit.up] == 1
    else { return nil }
    return index..<index + 3
  }
}
