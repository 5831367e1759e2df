// SPDX-License-Identifier: Apache-2.0

internal import Support

/// Memory of the host that stays where it is, so that the GPU gets at it by itself.
extension GPU {
  /// For copies.
  package func allocatePinned(_ byteCount: Int) throws(CUDAError) -> UnsafeMutableRawBufferPointer {
    try allocatePinned(byteCount, [])
  }

  /// For kernels too. Begins as zeros.
  package func allocateMapped(_ byteCount: Int) throws(CUDAError) -> MappedMemory {
    let bytes = try allocatePinned(byteCount, [.portable, .mapped])
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    var address: UInt64 = 0
    guard let start = bytes.baseAddress else { return MappedMemory(bytes: bytes, address: 0) }
    try expect(
      driver.functions.mappedAddress(&address, start, 0), "cuMemHostGetDevicePointer")
    return MappedMemory(bytes: bytes, address: address)
  }

  package func freePinned(_ memory: UnsafeMutableRawBufferPointer) throws(CUDAError) {
    guard let index = pinned.firstIndex(where: { $0 == memory.baseAddress }) else { return }
    try expect(driver.functions.freePinned(pinned.remove(at: index)), "cuMemFreeHost")
  }

  /// For how long a word of a kernel is looked at, before the driver is asked to wait: what is
  /// awaited so takes some launches, of a few microseconds each.
  private static let lookingNanosecondsMax: UInt64 = 200_000

  /// Waits until a kernel that is queued has set the word to `value`. Where it does not come soon,
  /// waits for all that is queued: a GPU that failed never sets it, and the driver says so.
  package func wait(for word: MappedWord, toBe value: UInt64) throws(CUDAError) {
    let end = Clock.nowNanoseconds + Self.lookingNanosecondsMax
    repeat {
      if word.value == value { return }
    } while Clock.nowNanoseconds < end
    try synchronize()
    guard word.value == value else {
      let step = step.map { " of step \($0)" } ?? ""
      throw CUDAError(
        .internal, "\(place) has done all\(step), and no kernel has set the word that says so")
    }
  }

  /// Flags of `cuMemHostAlloc`.
  private struct HostMemoryFlags: OptionSet {
    let rawValue: UInt32

    /// Pinned for every GPU's context.
    static let portable = HostMemoryFlags(rawValue: 1)
    /// Has an address for kernels.
    static let mapped = HostMemoryFlags(rawValue: 2)
  }

  private func allocatePinned(
    _ byteCount: Int, _ flags: HostMemoryFlags
  ) throws(CUDAError) -> UnsafeMutableRawBufferPointer {
    var memory: UnsafeMutableRawPointer?
    try expect(
      driver.functions.allocatePinned(&memory, max(1, byteCount), flags.rawValue),
      "cuMemHostAlloc of \(byteCount) bytes")
    guard let memory else { throw CUDAError(.internal, "\(place): cuMemHostAlloc gave nothing") }
    pinned.append(memory)
    return UnsafeMutableRawBufferPointer(start: memory, count: max(1, byteCount))
  }
}
