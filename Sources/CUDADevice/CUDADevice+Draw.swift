// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
package import Step
internal import Support

/// Tokens drawn on the GPU: all is queued, and one copy of a key for each row comes back, and where
/// one is asked for, of reports.
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
    guard let scores = loaded.lowering.values.floats(value), let keys = memory.hostKeys.baseAddress
    else { return check(false, "\(value) has no floats") }
    try onGPU { () throws(CUDAError) in
      let byteCount = rowCount * MemoryLayout<UInt64>.stride
      try gpu.zero(memory.keys, byteCount: byteCount)
      var argument = cu_largest(
        rows: UnsafePointer(pointer(scores)), stride: Int64(stride), keys: pointer(memory.keys),
        width: Int32(width), unused: 0)
      try withUnsafeMutableBytes(of: &argument) { bytes throws(CUDAError) in
        guard let start = bytes.baseAddress else { return }
        try gpu.launch(
          loaded.lowering.kernels.largestOfRows,
          x: (width + cu_largest_columns - 1) / cu_largest_columns, y: rowCount,
          argument: start)
      }
      if draws.rows.contains(where: { $0?.isMoreThanLargest == true }) {
        try memory.queue(
          draws, scores: scores, stride: stride, width: width, on: gpu,
          loaded.lowering.kernels)
      }
      try gpu.copyOut(to: keys, from: memory.keys, byteCount: byteCount)
      try gpu.synchronize()
    }
    for row in columns.indices { columns[row] = Self.token(keys[row]) }
    memory.read(draws.rows, into: reports)
  }

  /// What a key says.
  private static func token(_ key: UInt64) -> Int32 {
    if key == .max { return DrawnToken.notFinite }
    return Float(rankedBy: key) == -.infinity ? DrawnToken.allMasked : Int32(rankedBy: key)
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
