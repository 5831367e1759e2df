// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Support

/// The threads that run kernels; the thread that calls `run` is one of them. Confined to it.
final class WorkerPool {
  private let pool: OpaquePointer
  let threadCount: Int
  private let idleStep: UnsafeMutablePointer<ck_step>

  init(threadCount: Int, cpus: [Int] = []) throws(DeviceError) {
    let ids = cpus.map { Int32(truncatingIfNeeded: $0) }
    guard let pool = ck_pool_create(Int32(threadCount), ids, Int32(ids.count)) else {
      throw DeviceError(.resourceExhausted, "cannot start \(threadCount) CPU threads")
    }
    self.pool = pool
    self.threadCount = threadCount
    idleStep = .allocate(capacity: 1)
    idleStep.initialize(to: ck_step())
  }

  deinit {
    ck_pool_destroy(pool)
    idleStep.deallocate()
  }

  /// Gives every worker scratch memory of so many floats.
  func reserve(scratch floats: Int) throws(DeviceError) {
    guard ck_pool_reserve(pool, Int64(floats)) == 0 else {
      throw DeviceError(.resourceExhausted, "no memory for \(floats) floats of each CPU thread")
    }
  }

  /// Runs phases in order, all threads together. No allocation.
  func run(_ phases: UnsafeBufferPointer<ck_phase>, step: UnsafePointer<ck_step>) {
    if phases.isEmpty { return }
    ck_pool_run(pool, phases.baseAddress, Int64(phases.count), step)
  }

  /// Runs one kernel outside of a step.
  func run<Arguments>(_ kernel: ck_kernel, _ arguments: Arguments) {
    withUnsafePointer(to: arguments) { arguments in
      var phase = ck_phase(kernel: kernel, arguments: UnsafeRawPointer(arguments))
      ck_pool_run(pool, &phase, 1, idleStep)
    }
  }
}
