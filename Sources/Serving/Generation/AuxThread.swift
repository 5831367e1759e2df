// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// The thread for work that takes long and is nobody's turn: tokenising prompts.
package final class AuxThread: Sendable {
  private let jobs: MPSCRing<@Sendable () -> Void>
  private let wake = WakeSignal()
  private let isStopping = Atomic<Bool>(false)
  private let thread = Mutex<PinnedThread?>(nil)

  /// Starts the thread; `capacity` jobs may wait.
  package init(capacity: Int, cpus: [Int] = []) {
    jobs = MPSCRing(capacity: capacity)
    let started = PinnedThread(name: "aux", cpus: cpus) { [unowned self] in run() }
    thread.withLock { $0 = started }
  }

  /// Queues a job, or returns false when as many wait as may. Any thread.
  package func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    guard jobs.tryPush(job) else { return false }
    wake.notify()
    return true
  }

  /// Does what is queued and ends the thread. Must be called once, before it is freed.
  package func stop() {
    isStopping.store(true, ordering: .releasing)
    wake.notify()
    thread.withLock { $0.take() }?.join()
  }

  private func run() {
    while true {
      let isLast = isStopping.load(ordering: .acquiring)
      while let job = jobs.tryPop() { job() }
      if isLast { return }
      wake.wait()
    }
  }
}
