// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Support

/// How fast threads of a CPU device read memory that no cache holds.
package struct MemoryBandwidth: Hashable, Sendable {
  package var bytesPerSecond: Double

  /// More than the last-level caches of most machines.
  package static let defaultBytes = 512 << 20

  /// Reads `byteCount` bytes `passes` times with `threads` threads and takes the fastest pass. 0 if
  /// threads or memory are not to be had. Some tenths of a second; any thread.
  package static func measure(
    threads: Int, byteCount: Int = defaultBytes, passes: Int = 4
  ) -> MemoryBandwidth {
    let arena = Arena()
    guard let level = CPULevel.available.last, let kernels = level.kernels?.pointee,
      let pool = try? WorkerPool(threadCount: max(1, threads)),
      let memory = try? arena.allocate(UInt8.self, count: byteCount)
    else { return MemoryBandwidth(bytesPerSecond: 0) }
    // Written first: pages that were never written are all the same one.
    for start in stride(from: 0, to: byteCount, by: 4096) { memory[start] = 1 }
    var best = 0.0
    for _ in 0..<max(1, passes) {
      let start = Clock.nowNanoseconds
      pool.run(kernels.read, ck_read(memory: memory, bytes: Int64(byteCount), passes: 1))
      let seconds = Double(Clock.nowNanoseconds - start) / 1e9
      best = max(best, Double(byteCount) / max(seconds, 1e-9))
    }
    return MemoryBandwidth(bytesPerSecond: best)
  }
}
