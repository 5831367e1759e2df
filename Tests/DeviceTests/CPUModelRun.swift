// SPDX-License-Identifier: Apache-2.0

import Device
import Program
import Step

/// A program on a device, driven step by step.
struct CPUModelRun {
  static let blockTokens = 16
  static let blockCount = 64

  let program: Program
  let device: any Device
  private(set) var lastPlan = StepPlan(id: 0, tokens: [], sequences: [])

  init(
    _ program: Program, _ weights: any WeightSource, on device: any Device,
    slice: ContextSlice = .whole, rowCountMax: Int = 128, stepCountMax: Int = 1
  ) throws {
    self.program = program
    self.device = device
    let capacity = DeviceCapacity(
      rowCountMax: rowCountMax, outputCountMax: rowCountMax, blockCount: Self.blockCount,
      blockTokens: Self.blockTokens, contextSlice: slice, stepCountMax: stepCountMax)
    try device.load(program, from: weights, capacity: capacity, progress: { _ in })
  }

  /// Blocks of a sequence that nobody else has, not in order.
  static func blocks(of sequence: Int, tokens: Int) -> [Int32] {
    (0..<(tokens + blockTokens - 1) / blockTokens).map { Int32(sequence + 16 * (3 - $0)) }
  }

  /// A plan of sequences, each with the position of its first token.
  static func plan(_ parts: [(sequence: Int, tokens: [Int32], position: Int)]) -> StepPlan {
    var plan = StepPlan(id: 1, tokens: [], sequences: [])
    for part in parts {
      let start = plan.tokens.count
      plan.tokens += part.tokens
      plan.sequences.append(
        StepSequence(
          id: SequenceID(UInt64(part.sequence)), rows: start..<plan.tokens.count,
          firstPosition: part.position,
          blocks: blocks(of: part.sequence, tokens: part.position + part.tokens.count),
          outputs: .all))
    }
    return plan
  }

  mutating func begin(_ plan: StepPlan) throws {
    lastPlan = plan
    try device.begin(plan)
  }

  func values(_ id: ValueID) throws -> [Float] {
    let shape = program[id]
    let rows = shape.rows == .tokens ? lastPlan.rowCount : lastPlan.outputCount
    var values = [Float](repeating: .nan, count: rows * shape.width)
    try values.withUnsafeMutableBufferPointer { try device.read(id, into: $0) }
    return values
  }

  /// Logits of all rows of a plan.
  mutating func logits(_ plan: StepPlan) throws -> [Float] {
    guard case .logits(let value) = program.output else { return [] }
    try begin(plan)
    try device.run(program.operations.indices)
    return try values(value)
  }

  /// Logits after each token of one sequence, in chunks.
  mutating func logits(of tokens: [Int32], chunk: Int, sequence: Int = 0) throws -> [Float] {
    var logits: [Float] = []
    for start in stride(from: 0, to: tokens.count, by: chunk) {
      let part = Array(tokens[start..<min(tokens.count, start + chunk)])
      logits += try self.logits(Self.plan([(sequence, part, start)]))
    }
    return logits
  }
}

/// The largest difference, infinite where there is a NaN or counts differ.
func largestDifference(_ left: [Float], _ right: [Float]) -> Float {
  guard left.count == right.count else { return .infinity }
  return zip(left, right).reduce(0) { largest, pair in
    let difference = pair.0 == pair.1 ? 0 : abs(pair.0 - pair.1)
    return difference.isNaN ? .infinity : max(largest, difference)
  }
}

/// Whether all bits are equal.
func bitsEqual(_ left: [Float], _ right: [Float]) -> Bool {
  left.map(\.bitPattern) == right.map(\.bitPattern)
}
