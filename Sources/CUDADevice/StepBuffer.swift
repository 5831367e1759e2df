// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
internal import Step
internal import Support

/// A step's plan as the kernels read it: filled in pinned memory, taken over by one copy.
///
/// Two halves by turns, so that a step can be filled while the copy of the one before may not be
/// done. Confined to the device's thread.
final class StepBuffer {
  /// Where the kernels find `cu_step`.
  let address: UInt64
  private(set) var rowCount = 0
  private(set) var outputCount = 0

  private let gpu: GPU
  private let capacity: DeviceCapacity
  private var halves: [Half] = []
  private var turn = 0
  /// Room for the block tables of all sequences; grows with the longest step so far.
  private var blockRoom: Int
  private var device: UInt64 = 0
  private let vocabularySize: Int

  private struct Half {
    var memory: UnsafeMutableRawBufferPointer
    let fence: GPU.Fence
  }

  private static let headerBytes = 256
  /// Tokens, positions, block starts and outputs.
  private static let rowArrays = 4

  init(
    _ gpu: GPU, address: UInt64, capacity: DeviceCapacity, vocabularySize: Int
  ) throws(CUDAError) {
    self.gpu = gpu
    self.address = address
    self.capacity = capacity
    self.vocabularySize = vocabularySize
    blockRoom = capacity.blockCount * capacity.contextSlice.count + capacity.rowCountMax
    for _ in 0..<2 {
      let memory = try gpu.allocatePinned(byteCount)
      halves.append(Half(memory: memory, fence: try gpu.makeFence()))
    }
    device = try gpu.allocate(byteCount)
  }

  private var byteCount: Int {
    Self.headerBytes + (Self.rowArrays * capacity.rowCountMax + blockRoom) * 4
  }

  /// Queues the copy of a plan. Allocates only where sequences have more blocks than ever before.
  func fill(_ plan: StepPlan) throws(CUDAError) {
    check(plan.rowCount <= capacity.rowCountMax, "\(plan.rowCount) rows are more than agreed")
    check(plan.outputCount <= capacity.outputCountMax, "more outputs than agreed")
    try reserveBlocks(plan.sequences.reduce(0) { $0 + $1.blocks.count })
    turn = 1 - turn
    let half = halves[turn]
    try gpu.wait(for: half.fence)
    guard let start = half.memory.baseAddress else { return }
    let rows = capacity.rowCountMax
    let ints = (start + Self.headerBytes).assumingMemoryBound(to: Int32.self)
    for (row, token) in plan.tokens.enumerated() {
      check((0..<vocabularySize).contains(Int(token)), "token \(token) is not of the vocabulary")
      ints[row] = token
    }
    let blockCount = fillSequences(plan, ints)
    rowCount = plan.rowCount
    outputCount = plan.outputCount
    let place = device + UInt64(Self.headerBytes)
    func array(_ index: Int) -> UnsafePointer<Int32>? {
      UnsafePointer(pointer(place + UInt64(index * rows * 4)))
    }
    start.assumingMemoryBound(to: cu_step.self).initialize(
      to: cu_step(
        counts: (Int32(rowCount), Int32(outputCount)), block_tokens: Int32(capacity.blockTokens),
        slice_index: Int32(capacity.contextSlice.index),
        slice_count: Int32(capacity.contextSlice.count), arrivals: 0, tokens: array(0),
        positions: array(1), row_blocks: array(2), output_rows: array(3), blocks: array(4)))
    // The header has a place of its own, since what kernels were given must not move.
    try gpu.copyIn(to: address, from: start, byteCount: MemoryLayout<cu_step>.size)
    try gpu.copyIn(
      to: place, from: ints, byteCount: (Self.rowArrays * rows + blockCount) * 4)
    try gpu.record(half.fence)
  }

  /// Fills all arrays but the tokens; returns how many blocks there are.
  private func fillSequences(_ plan: StepPlan, _ ints: UnsafeMutablePointer<Int32>) -> Int {
    let rows = capacity.rowCountMax
    var nextBlock = 0
    var nextOutput = 0
    for sequence in plan.sequences where !sequence.rows.isEmpty {
      let last = sequence.firstPosition + sequence.rows.count - 1
      check(
        sequence.blocks.count * capacity.blockTokens > last,
        "\(sequence.id) has \(sequence.blocks.count) blocks for \(last + 1) tokens")
      for row in sequence.rows {
        ints[rows + row] = Int32(sequence.firstPosition + row - sequence.rows.lowerBound)
        ints[2 * rows + row] = Int32(nextBlock)
      }
      for row in sequence.rows.suffix(sequence.outputCount) {
        ints[3 * rows + nextOutput] = Int32(row)
        nextOutput += 1
      }
      let slice = capacity.contextSlice
      for (index, block) in sequence.blocks.enumerated() {
        check(
          index % slice.count != slice.index || (0..<capacity.blockCount).contains(Int(block)),
          "\(sequence.id) has block \(block) of \(capacity.blockCount)")
        ints[4 * rows + nextBlock] = block
        nextBlock += 1
      }
    }
    return nextBlock
  }

  private func reserveBlocks(_ count: Int) throws(CUDAError) {
    guard count > blockRoom else { return }
    try gpu.synchronize()
    blockRoom = max(count, 2 * blockRoom)
    for index in halves.indices {
      try gpu.freePinned(halves[index].memory)
      halves[index].memory = try gpu.allocatePinned(byteCount)
    }
    try gpu.free(device)
    device = try gpu.allocate(byteCount)
  }
}
