// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
internal import Step
internal import Support

/// A step's plan on its way to the GPU: a ring of slots in mapped memory of the host, and the GPU's
/// own copy, which the first kernel of a step makes of a slot (`ring.cu`), since many blocks of
/// many kernels read it.
///
/// A slot is the host's until that kernel is queued, then the GPU's until the fence behind it has
/// passed: before a slot is filled again, its fence is waited for. Which slot it is the kernel is
/// told when it is launched, so nobody counts beside the host, and a step that fails midway leaves
/// nothing to put right. Confined to the device's thread.
final class StepBuffer {
  /// Where the kernels find `cu_step`.
  let address: UInt64
  private(set) var rowCount = 0
  private(set) var outputCount = 0
  /// Of at least `chunkRowsMin` rows of a sequence.
  private(set) var chunks: [Launch.Chunk] = []
  private let chunkRowsMin: Int

  private let gpu: GPU
  private let kernel: GPU.Kernel
  private let capacity: DeviceCapacity
  private var slots: [Slot] = []
  private var turn = 0
  /// Room for the block tables of all sequences; grows with the longest step so far.
  private var blockRoom: Int
  /// The GPU's copy of the arrays.
  private var arrays: UInt64 = 0
  private let vocabularySize: Int

  private struct Slot {
    var memory: MappedMemory
    let fence: GPU.Fence
  }

  /// Arrays of more bytes come by a copy, which takes some 4 µs longer to begin but brings 55 GB/s
  /// over PCIe 5.0; the kernel has 16 KiB on their way at once, for 1.75 µs say, which is 9 GB/s.
  /// Both take as long at 45 KB. By arithmetic: not measured.
  private static let fetchedBytesMax = 32 << 10
  private static let headerBytes = MemoryLayout<cu_step>.size
  private static let wordBytes = 16

  /// - Parameter kernel: `fetch_step`.
  init(
    _ gpu: GPU, _ kernel: GPU.Kernel, address: UInt64, capacity: DeviceCapacity,
    vocabularySize: Int, chunkRowsMin: Int
  ) throws(CUDAError) {
    self.chunkRowsMin = chunkRowsMin
    self.gpu = gpu
    self.kernel = kernel
    self.address = address
    self.capacity = capacity
    self.vocabularySize = vocabularySize
    blockRoom = capacity.blockCount * capacity.contextSlice.count + capacity.rowCountMax
    // With one more than steps are under way, the next is filled while they run.
    for _ in 0...capacity.stepCountMax {
      let memory = try gpu.allocateMapped(slotBytes)
      slots.append(Slot(memory: memory, fence: try gpu.makeFence()))
    }
    arrays = try gpu.allocate(arrayBytesMax)
  }

  private var slotBytes: Int { Self.headerBytes + arrayBytesMax }

  private var arrayBytesMax: Int {
    arrayBytes(capacity.rowCountMax, capacity.outputCountMax, blockRoom)
  }

  /// Of tokens, positions, where a row's blocks begin, outputs and blocks, in whole words.
  private func arrayBytes(_ rows: Int, _ outputs: Int, _ blocks: Int) -> Int {
    let byteCount = (3 * rows + outputs + blocks) * MemoryLayout<Int32>.size
    return (byteCount + Self.wordBytes - 1) / Self.wordBytes * Self.wordBytes
  }

  /// Fills a slot with a plan and queues what brings it to the GPU. Allocates only where sequences
  /// have more blocks than ever before.
  func fill(_ plan: StepPlan) throws(CUDAError) {
    check(plan.rowCount <= capacity.rowCountMax, "\(plan.rowCount) rows are more than agreed")
    check(plan.outputCount <= capacity.outputCountMax, "more outputs than agreed")
    try reserveBlocks(plan.sequences.reduce(0) { $0 + $1.blocks.count })
    turn = (turn + 1) % slots.count
    let slot = slots[turn]
    try gpu.wait(for: slot.fence)
    guard let start = slot.memory.bytes.baseAddress else { return }
    rowCount = plan.rowCount
    outputCount = plan.outputCount
    start.assumingMemoryBound(to: cu_step.self).initialize(to: header())
    let ints = (start + Self.headerBytes).assumingMemoryBound(to: Int32.self)
    for (row, token) in plan.tokens.enumerated() {
      check((0..<vocabularySize).contains(Int(token)), "token \(token) is not of the vocabulary")
      ints[row] = token
    }
    let blockCount = fillSequences(plan, ints)
    try queue(slot, byteCount: arrayBytes(rowCount, outputCount, blockCount))
  }

  /// Puts the fence of the slot that was filled last behind all that is queued by now.
  func markTaken() throws(CUDAError) { try gpu.record(slots[turn].fence) }

  private func queue(_ slot: Slot, byteCount: Int) throws(CUDAError) {
    let isCopied = byteCount > Self.fetchedBytesMax
    if isCopied, let start = slot.memory.bytes.baseAddress {
      try gpu.copyIn(to: arrays, from: start + Self.headerBytes, byteCount: byteCount)
    }
    let argument = cu_fetch(
      slot: UnsafeRawPointer(pointer(slot.memory.address, to: UInt8.self)), step: pointer(address),
      arrays: pointer(arrays, to: UInt8.self),
      array_words: isCopied ? 0 : Int32(byteCount / Self.wordBytes), unused: 0)
    try gpu.launchFirst(kernel, with: argument)
  }

  /// Of a step whose arrays lie behind each other.
  private func header() -> cu_step {
    func array(_ first: Int) -> UnsafePointer<Int32>? {
      UnsafePointer(pointer(arrays + UInt64(first * MemoryLayout<Int32>.size)))
    }
    return cu_step(
      counts: (Int32(rowCount), Int32(outputCount)), block_tokens: Int32(capacity.blockTokens),
      slice_index: Int32(capacity.contextSlice.index),
      slice_count: Int32(capacity.contextSlice.count), arrivals: 0, tokens: array(0),
      positions: array(rowCount), row_blocks: array(2 * rowCount),
      output_rows: array(3 * rowCount), blocks: array(3 * rowCount + outputCount))
  }

  /// Fills all arrays but the tokens; returns how many blocks there are.
  private func fillSequences(_ plan: StepPlan, _ ints: UnsafeMutablePointer<Int32>) -> Int {
    let (outputs, blocks) = (ints + 3 * rowCount, ints + 3 * rowCount + outputCount)
    var nextBlock = 0
    var nextOutput = 0
    chunks.removeAll(keepingCapacity: true)
    for sequence in plan.sequences where !sequence.rows.isEmpty {
      if sequence.rows.count >= chunkRowsMin {
        chunks.append(
          Launch.Chunk(rows: sequence.rows, firstPosition: sequence.firstPosition))
      }
      let last = sequence.firstPosition + sequence.rows.count - 1
      check(
        sequence.blocks.count * capacity.blockTokens > last,
        "\(sequence.id) has \(sequence.blocks.count) blocks for \(last + 1) tokens")
      for row in sequence.rows {
        ints[rowCount + row] = Int32(sequence.firstPosition + row - sequence.rows.lowerBound)
        ints[2 * rowCount + row] = Int32(nextBlock)
      }
      for row in sequence.rows.suffix(sequence.outputCount) {
        outputs[nextOutput] = Int32(row)
        nextOutput += 1
      }
      let slice = capacity.contextSlice
      for (index, block) in sequence.blocks.enumerated() {
        check(
          index % slice.count != slice.index || (0..<capacity.blockCount).contains(Int(block)),
          "\(sequence.id) has block \(block) of \(capacity.blockCount)")
        blocks[nextBlock] = block
        nextBlock += 1
      }
    }
    return nextBlock
  }

  private func reserveBlocks(_ count: Int) throws(CUDAError) {
    guard count > blockRoom else { return }
    try gpu.synchronize()
    blockRoom = max(count, 2 * blockRoom)
    for index in slots.indices {
      try gpu.freePinned(slots[index].memory.bytes)
      slots[index].memory = try gpu.allocateMapped(slotBytes)
    }
    try gpu.free(arrays)
    arrays = try gpu.allocate(arrayBytesMax)
  }
}

extension cu_step {
  /// Where the plan at an address counts arrivals.
  static func arrivals(at address: UInt64) -> UnsafeMutablePointer<UInt32>? {
    pointer(address + UInt64(MemoryLayout<cu_step>.offset(of: \.arrivals) ?? 0))
  }
}
