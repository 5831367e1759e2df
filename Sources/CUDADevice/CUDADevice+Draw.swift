// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
package import Step
internal import Support

/// Tokens drawn on the GPU: all is queued, and one copy of a key for each row comes back.
extension CUDADevice: TokenDrawer {
  package var drawsAtRandom: Bool { true }

  package func draw(
    _ value: ValueID, _ draws: UnsafeBufferPointer<TokenDraw?>,
    into columns: UnsafeMutableBufferPointer<Int32>
  ) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    check(draws.count == columns.count, "\(draws.count) draws for \(columns.count) columns")
    let memory = loaded.drawing
    let width = loaded.program[value].width
    let stride = loaded.lowering.values.stride(value)
    guard let scores = loaded.lowering.values.floats(value), let keys = memory.hostKeys.baseAddress
    else { return check(false, "\(value) has no floats") }
    try onGPU { () throws(CUDAError) in
      let byteCount = draws.count * MemoryLayout<UInt64>.stride
      try gpu.zero(memory.keys, byteCount: byteCount)
      let argument = cu_largest(
        rows: UnsafePointer(pointer(scores)), stride: Int64(stride), keys: pointer(memory.keys),
        width: Int32(width), unused: 0)
      try gpu.launch(
        loaded.lowering.kernels.largestOfRows,
        x: (width + cu_largest_columns - 1) / cu_largest_columns, y: draws.count, with: argument)
      if draws.contains(where: { $0?.takesLargest == false }) {
        try memory.queue(
          draws, scores: scores, stride: stride, width: width, on: gpu,
          loaded.lowering.kernels)
      }
      try gpu.copyOut(to: keys, from: memory.keys, byteCount: byteCount)
      try gpu.synchronize()
    }
    for row in columns.indices {
      columns[row] =
        keys[row] == .max ? -1 : Int32(truncatingIfNeeded: 0xFFFF_FFFF - (keys[row] & 0xFFFF_FFFF))
    }
  }
}
