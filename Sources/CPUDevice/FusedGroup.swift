// SPDX-License-Identifier: Apache-2.0

internal import Program

/// Neighbouring operations that are fewer phases when all of them run. The bits are those of the
/// operations one by one.
struct FusedGroup {
  enum Kind {
    /// Two linears of one input, and the unit in which the first opens the second.
    case gated
    /// A sum, and its norm.
    case normedSum
  }

  var kind: Kind
  var operations: Range<Int>

  static func all(of program: Program) -> [FusedGroup] {
    let counts = readerCounts(of: program)
    return program.operations.indices.compactMap {
      gated(program, $0, counts) ?? normedSum(program, $0)
    }
  }

  /// How many operations, or who runs the program, read a value.
  static func readerCounts(of program: Program) -> [ValueID: Int] {
    var counts: [ValueID: Int] = [:]
    for operation in program.operations {
      for value in operation.reads { counts[value, default: 0] += 1 }
    }
    switch program.output {
    case .logits(let value), .hidden(let value): counts[value, default: 0] += 1
    }
    return counts
  }

  private static func gated(
    _ program: Program, _ index: Int, _ readerCounts: [ValueID: Int]
  ) -> FusedGroup? {
    let operations = program.operations[index...].prefix(3)
    guard operations.count == 3,
      case .linear(let gate) = operations[index], case .linear(let up) = operations[index + 1],
      case .swiglu(let unit) = operations[index + 2],
      gate.input == up.input, unit.gate == gate.output, unit.up == up.output,
      readerCounts[unit.gate] == 1, readerCounts[unit.up] == 1
    else { return nil }
    return FusedGroup(kind: .gated, operations: index..<index + 3)
  }

  private static func normedSum(_ program: Program, _ index: Int) -> FusedGroup? {
    let operations = program.operations[index...].prefix(2)
    guard operations.count == 2, case .add(let sum) = operations[index],
      case .rmsNorm(let norm) = operations[index + 1],
      norm.input == Columns(sum.output, width: program[sum.output].width)
    else { return nil }
    return FusedGroup(kind: .normedSum, operations: index..<index + 2)
  }
}
