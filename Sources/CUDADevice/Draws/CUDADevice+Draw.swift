// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
package import Step
internal import Support

/// Tokens drawn on the GPU: all is queued, and the last kernel writes what was drawn to where the
/// host looks (`DrawnTokens`), and what is reported.
extension CUDADevice: TokenDrawer {
  package var drawsAtRandom: Bool { true }

  package func draw(
    _ value: ValueID, _ draws: StepDraws, into columns: UnsafeMutableBufferPointer<Int32>,
    reports: UnsafeMutableBufferPointer<LogitReport>
  ) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    let rowCount = draws.rows.count
    check(
      rowCount == columns.count && rowCount == reports.count,
      "\(rowCount) draws for \(columns.count) columns and \(reports.count) reports")
    let memory = loaded.drawing
    let width = loaded.program[value].width
    let stride = loaded.lowering.values.stride(value)
    guard let scores = loaded.lowering.values.floats(value) else {
      return check(false, "\(value) has no floats")
    }
    try onGPU { () throws(CUDAError) in
      let kernels = loaded.lowering.kernels
      let isMore = draws.rows.contains { $0?.isMoreThanLargest == true }
      try memory.begin(draws, isMoreThanLargest: isMore, on: gpu, kernels)
      let parts = (width + cu_largest_columns - 1) / cu_largest_columns
      let argument = cu_largest(
        rows: UnsafePointer(pointer(scores)), stride: Int64(stride), keys: pointer(memory.keys),
        width: Int32(width), unused: 0,
        drawn: isMore
          ? cu_drawn()
          : memory.drawn.ending(keys: memory.keys, rows: rowCount, blocks: parts * rowCount))
      try gpu.launch(kernels.largestOfRows, x: parts, y: rowCount, with: argument)
      if isMore {
        try memory.queue(
          draws, scores: scores, stride: stride, width: width, on: gpu, kernels)
      }
      try memory.drawn.read(into: columns, on: gpu)
    }
    memory.read(draws.rows, into: reports)
  }
}

extension TokenDraw {
  /// Whether there is more to do for it than to find the largest logit.
  var isMoreThanLargest: Bool { !takesLargest || !isPlain }
}

// What keys of the kernels are made of (`cu_largest`).

extension Float {
  init(rankedBy key: UInt64) {
    let bits = UInt32(truncatingIfNeeded: key >> 32)
    self.init(bitPattern: bits >> 31 == 1 ? bits & 0x7FFF_FFFF : ~bits)
  }
}

extension Int32 {
  init(rankedBy key: UInt64) {
    self.init(truncatingIfNeeded: 0xFFFF_FFFF - (key & 0xFFFF_FFFF))
  }
}
