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
    let counts = program.readerCounts
    return program.operations.indices.compactMap { index in
      program.gatedUnit(at: index, readerCounts: counts).map {
        FusedGroup(kind: .gated, operations: $0)
      } ?? normedSum(program, index)
    }
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
