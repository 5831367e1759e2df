// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
package import Step
internal import Support

/// Tokens drawn on the GPU: all is queued, and the last kernel writes what was drawn to where the
/// host looks (`DrawnTokens`).
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
    guard let scores = loaded.lowering.values.floats(value) else {
      return check(false, "\(value) has no floats")
    }
    try onGPU { () throws(CUDAError) in
      let kernels = loaded.lowering.kernels
      let atRandom = draws.contains { $0?.takesLargest == false }
      try memory.begin(draws, atRandom: atRandom, on: gpu, kernels)
      let parts = (width + cu_largest_columns - 1) / cu_largest_columns
      let argument = cu_largest(
        rows: UnsafePointer(pointer(scores)), stride: Int64(stride), keys: pointer(memory.keys),
        width: Int32(width), unused: 0,
        drawn: atRandom
          ? cu_drawn()
          : memory.drawn.ending(
            keys: memory.keys, rows: draws.count, blocks: parts * draws.count))
      try gpu.launch(kernels.largestOfRows, x: parts, y: draws.count, with: argument)
      if atRandom {
        try memory.queue(
          draws, scores: scores, stride: stride, width: width, on: gpu, kernels)
      }
      try memory.drawn.read(into: columns, on: gpu)
    }
  }
}
