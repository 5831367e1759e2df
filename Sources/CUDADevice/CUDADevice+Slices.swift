// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
internal import Support

/// Attention whose keys are on several devices.
extension CUDADevice {
  package func merge(
    _ output: ValueID, _ logSumExp: ValueID, with parts: [any Handoff], place: Int
  ) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    let memories = parts.compactMap { part -> PeerMemory? in
      guard case .places(let memory)? = (part as? PeerHandoff)?.memory else { return nil }
      return memory
    }
    check(
      memories.count == parts.count && parts.count < cu_slices_max,
      "\(parts.count) parts are not other GPUs' or too many")
    let counts = counts(loaded)
    let outputBytes = PeerMemory.room(for: byteCount(of: output, loaded, counts))
    let logBytes = PeerMemory.room(for: byteCount(of: logSumExp, loaded, counts))
    var argument = merging(output, logSumExp, loaded)
    argument.count = Int32(parts.count + 1)
    argument.log_offset = Int64(outputBytes / MemoryLayout<Float>.stride)
    let rows = counts.rows(loaded.program[output].rows)
    let warps = cu_threads / 32
    let blocks = (Int(argument.heads) + warps - 1) / warps
    try onGPU { () throws(CUDAError) in
      try gpu.take(outputBytes + logBytes, from: memories, place: place) {
        (starts) throws(CUDAError) in
        withUnsafeMutableBytes(of: &argument.others) { room in
          starts.withUnsafeBytes { room.copyMemory(from: $0) }
        }
        try gpu.launch(loaded.lowering.kernels.mergeSlices, x: rows * blocks, with: argument)
      }
    }
  }

  /// A merge without the other slices' parts.
  private func merging(
    _ output: ValueID, _ logSumExp: ValueID, _ loaded: Loaded
  ) -> cu_slices {
    let heads = loaded.program[logSumExp].width
    var argument = cu_slices()
    argument.step = loaded.lowering.stepPointer
    argument.output = loaded.lowering.rows(output)
    argument.log_sum_exp = UnsafePointer(loaded.lowering.floats(logSumExp))
    argument.log_stride = loaded.lowering.stride(logSumExp)
    argument.heads = Int32(heads)
    argument.width = Int32(loaded.program[output].width / heads)
    return argument
  }
}
