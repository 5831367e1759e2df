// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Support

/// Where the GPU tells what it has drawn: mapped memory of the host, that the last block of a draw
/// fills, and then sets a word to the number of the draw (`hand_over` in `ring.h`).
///
/// A draw waits for its tokens, so one is under way at most and there is one place, the GPU's
/// from the launch to the word. The number is part of the launch. Confined to the device's thread.
final class DrawnTokens {
  private let columns, reports: MappedMemory
  private let word: MappedWord
  private var number: UInt64 = 0
  /// Behind all that the draw draws from.
  private let computed: GPU.Fence
  /// Blocks that have ended: on the GPU.
  let arrivals: UInt64

  /// For so many rows.
  init(_ gpu: GPU, rows: Int) throws(CUDAError) {
    columns = try gpu.allocateMapped(rows * MemoryLayout<Int32>.stride)
    reports = try gpu.allocateMapped(rows * MemoryLayout<cu_report>.stride)
    guard let word = MappedWord(try gpu.allocateMapped(MappedWord.byteCount)) else {
      checkFailed("mapped memory is shorter than asked for", file: #fileID, line: #line)
    }
    self.word = word
    computed = try gpu.makeFence()
    arrivals = try gpu.allocate(MemoryLayout<UInt32>.size)
  }

  /// Begins a draw, behind what is queued.
  func begin(on gpu: GPU) throws(CUDAError) {
    number += 1
    try gpu.record(computed)
  }

  /// What the last of its launches is told, all blocks of which hand over. `reports` are on the
  /// GPU; nil if none is asked for.
  func ending(keys: UInt64, reports: UInt64? = nil, rows: Int, blocks: Int = 1) -> cu_drawn {
    cu_drawn(
      keys: UnsafePointer(pointer(keys)), columns: pointer(columns.address),
      reports: reports.flatMap { UnsafePointer(pointer($0)) },
      host_reports: reports.flatMap { _ in pointer(self.reports.address) },
      word: pointer(word.address), number: number, arrivals: pointer(arrivals),
      blocks: UInt32(blocks), rows: Int32(rows))
  }

  /// Waits for what was drawn: as the driver does for what is drawn from, then for as long as
  /// drawing takes by looking at the word.
  func read(
    into destination: UnsafeMutableBufferPointer<Int32>, on gpu: GPU
  ) throws(CUDAError) {
    try gpu.wait(for: computed)
    try gpu.wait(for: word, toBe: number)
    let source = columns.bytes.bindMemory(to: Int32.self)
    _ = destination.update(fromContentsOf: source.prefix(destination.count))
  }

  /// What is told of the rows, after `read`.
  var hostReports: UnsafeMutableBufferPointer<cu_report> {
    reports.bytes.bindMemory(to: cu_report.self)
  }
}
