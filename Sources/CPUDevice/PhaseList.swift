// SPDX-License-Identifier: Apache-2.0

internal import CKernels

/// Phases behind each other, and where each operation's begin.
struct PhaseList {
  private(set) var phases: [ck_phase] = []
  /// For each operation, and one past the last: its first phase; nil inside a fused group.
  private var starts: [Int?] = []

  /// What is appended from now on belongs to the next operation.
  mutating func beginOperation() { starts.append(phases.count) }

  /// The next operation is part of the phase before.
  mutating func continueOperation() { starts.append(nil) }

  /// No border lies between an operation and a later one.
  mutating func join(_ first: Int, _ last: Int) {
    for operation in first..<last { starts[operation + 1] = nil }
  }

  mutating func append(_ phase: ck_phase) { phases.append(phase) }

  /// The phases of some operations; nil where a border lies inside a fused group.
  func range(_ operations: Range<Int>) -> Range<Int>? {
    guard let start = starts[operations.lowerBound], let end = starts[operations.upperBound]
    else { return nil }
    return start..<end
  }
}
