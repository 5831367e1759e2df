// SPDX-License-Identifier: Apache-2.0

import Support
import Synchronization
import Testing

@Suite struct ThreadTests {
  @Test func `a notification before the wait is not lost`() {
    let signal = WakeSignal()
    signal.notify()
    #expect(signal.wait())
    #expect(!signal.wait(until: Clock.nowNanoseconds + 1_000_000))
  }

  @Test func `a wait ends at its deadline`() {
    let start = Clock.nowNanoseconds
    #expect(!WakeSignal().wait(until: start + 20_000_000))
    #expect(Clock.nowNanoseconds - start >= 20_000_000)
  }

  @Test func `a sleeping thread is woken`() {
    let toWorker = WakeSignal()
    let toMain = WakeSignal()
    let worker = PinnedThread(name: "worker") {
      for _ in 0..<1_000 {
        toWorker.wait()
        toMain.notify()
      }
    }
    for _ in 0..<1_000 {
      toWorker.notify()
      #expect(toMain.wait(until: Clock.nowNanoseconds + 10_000_000_000))
    }
    worker.join()
  }

  @Test func `a thread runs on the processor that it is given`() throws {
    let cpu = try #require(PinnedThread.currentCPUs.last)
    final class Box: Sendable { let cpus = Mutex<[Int]>([]) }
    let seen = Box()
    PinnedThread(name: "pinned", cpus: [cpu]) {
      seen.cpus.withLock { $0 = PinnedThread.currentCPUs }
    }.join()
    #expect(seen.cpus.withLock { $0 } == [cpu])
  }
}
