// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Step
internal import Support

/// A step's plan as the kernels read it, in memory that stays where it is.
final class StepMemory {
  let step: UnsafeMutablePointer<ck_step>
  /// Rows and outputs: what kernels take as their row counts.
  let counts: UnsafeMutablePointer<Int64>
  private let tokens: UnsafeMutablePointer<Int32>
  private let positions: UnsafeMutablePointer<Int32>
  private let rowSequence: UnsafeMutablePointer<Int32>
  private let outputRows: UnsafeMutablePointer<Int32>
  private let sequences: UnsafeMutablePointer<ck_sequence>
  /// The block tables of all sequences, behind each other. Grows with the longest step so far.
  private var blocks: UnsafeMutableBufferPointer<Int32>
  private let capacity: DeviceCapacity

  init(_ capacity: DeviceCapacity, arena: Arena) throws(DeviceError) {
    self.capacity = capacity
    step = try arena.allocate(ck_step.self, count: 1)
    counts = try arena.allocate(Int64.self, count: 2)
    tokens = try arena.allocate(Int32.self, count: capacity.rowCountMax)
    positions = try arena.allocate(Int32.self, count: capacity.rowCountMax)
    rowSequence = try arena.allocate(Int32.self, count: capacity.rowCountMax)
    outputRows = try arena.allocate(Int32.self, count: capacity.outputCountMax)
    sequences = try arena.allocate(ck_sequence.self, count: capacity.rowCountMax)
    blocks = .allocate(capacity: capacity.blockCount * capacity.contextSlice.count + 1)
    step.pointee.tokens = UnsafePointer(tokens)
    step.pointee.positions = UnsafePointer(positions)
    step.pointee.row_sequence = UnsafePointer(rowSequence)
    step.pointee.output_rows = UnsafePointer(outputRows)
    step.pointee.sequences = UnsafePointer(sequences)
    step.pointee.block_tokens = Int64(capacity.blockTokens)
    step.pointee.slice_index = Int64(capacity.contextSlice.index)
    step.pointee.slice_count = Int64(capacity.contextSlice.count)
  }

  deinit { blocks.deallocate() }

  var rowCount: Int { Int(counts[0]) }
  var outputCount: Int { Int(counts[1]) }

  /// Takes over a plan. Allocates only where sequences share more blocks than ever before.
  func fill(_ plan: StepPlan) {
    check(plan.rowCount <= capacity.rowCountMax, "\(plan.rowCount) rows are more than agreed")
    check(plan.outputCount <= capacity.outputCountMax, "more outputs than agreed")
    reserveBlocks(plan.sequences.reduce(0) { $0 + $1.blocks.count })
    for row in 0..<plan.tokens.count { tokens[row] = plan.tokens[row] }
    var blockStart = 0
    var outputCount = 0
    var sequenceCount = 0
    for sequence in plan.sequences where !sequence.rows.isEmpty {
      fillRows(of: sequence, index: sequenceCount)
      sequences[sequenceCount] = ck_sequence(
        first_row: Int64(sequence.rows.lowerBound), rows: Int64(sequence.rows.count),
        position: Int64(sequence.firstPosition),
        blocks: UnsafePointer(blocks.baseAddress?.advanced(by: blockStart)))
      for block in sequence.blocks {
        blocks[blockStart] = block
        blockStart += 1
      }
      for row in sequence.rows.upperBound - sequence.outputCount..<sequence.rows.upperBound {
        outputRows[outputCount] = Int32(row)
        outputCount += 1
      }
      sequenceCount += 1
    }
    step.pointee.sequence_count = Int64(sequenceCount)
    step.pointee.rows = Int64(plan.rowCount)
    step.pointee.outputs = Int64(outputCount)
    counts[0] = Int64(plan.rowCount)
    counts[1] = Int64(outputCount)
  }

  private func fillRows(of sequence: StepSequence, index: Int) {
    let last = sequence.firstPosition + sequence.rows.count - 1
    check(
      sequence.blocks.count * capacity.blockTokens > last,
      "\(sequence.id) has \(sequence.blocks.count) blocks for \(last + 1) tokens")
    for row in sequence.rows {
      positions[row] = Int32(sequence.firstPosition + row - sequence.rows.lowerBound)
      rowSequence[row] = Int32(index)
    }
  }

  private func reserveBlocks(_ count: Int) {
    guard count > blocks.count else { return }
    blocks.deallocate()
    blocks = .allocate(capacity: max(count, 2 * blocks.count))
  }
}
