// SPDX-License-Identifier: Apache-2.0

import Glibc
import RPC
import Support
import Synchronization
import Testing

@Suite struct PollerTests {
  @Test func `jobs from many threads all run, on the poller's thread`() {
    let poller = Poller(name: "poller-test")
    let (ran, elsewhere) = (Shared(), Shared())
    let threads = (0..<4).map { number in
      PinnedThread(name: "submit-\(number)") {
        for _ in 0..<5_000 {
          while !poller.submit({
            ran.count.add(1, ordering: .relaxed)
            if !poller.isCurrent { elsewhere.count.add(1, ordering: .relaxed) }
          }) { sched_yield() }
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(eventually { ran.value == 20_000 })
    #expect(elsewhere.value == 0)
    #expect(!poller.isCurrent)
    poller.stop()
  }

  @Test func `a kick is never lost: what was pushed before it is seen`() {
    let poller = Poller(name: "poller-test")
    let ring = MPSCRing<Int>(capacity: 64)
    let sum = Shared()
    let isAdded = poller.addKickHandler {
      while let value = ring.tryPop() { sum.count.add(value, ordering: .relaxed) }
    }
    #expect(isAdded)
    let threads = (0..<3).map { number in
      PinnedThread(name: "kick-\(number)") {
        for value in 1...5_000 {
          while !ring.tryPush(value) { sched_yield() }
          poller.kick()
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(eventually { sum.value == 3 * 5_000 * 5_001 / 2 })
    poller.stop()
  }

  @Test func `a thread takes the place of a poller that sleeps, and what it leaves is done`() {
    let poller = Poller(name: "poller-test")
    let (here, later) = (Shared(), Shared())
    let caller = UInt(pthread_self())
    let isAdded = poller.addKickHandler {
      poller.preconditionOnPoller()
      if UInt(pthread_self()) != caller { return }
      here.count.add(1, ordering: .relaxed)
      // Left for the poller: a job, whose kick comes from its own thread as it were.
      _ = poller.submit { later.count.add(1, ordering: .relaxed) }
    }
    #expect(isAdded)
    #expect(eventually { poller.runKickHandlersIfAsleep() })
    #expect(here.value == 1)
    #expect(eventually { later.value == 1 })
    #expect(!poller.isCurrent)
    poller.stop()
    #expect(!poller.runKickHandlersIfAsleep())
  }

  @Test func `while it is in the poller's place, a thread makes more work for it`() {
    let poller = Poller(name: "poller-test")
    let runs = Shared()
    let isAdded = poller.addKickHandler { runs.count.add(1, ordering: .relaxed) }
    #expect(isAdded)
    #expect(eventually { runs.value == 1 })
    var rest = 3
    let hasRun = eventually {
      poller.runKickHandlersIfAsleep {
        poller.preconditionOnPoller()
        rest -= 1
        return rest >= 0
      }
    }
    #expect(hasRun)
    #expect(rest == -1)
    #expect(runs.value == 1 + 4)
    poller.stop()
  }

  @Test func `one thread at a time works as the poller, and nothing is lost`() {
    let poller = Poller(name: "poller-test")
    let ring = MPSCRing<Int>(capacity: 64)
    let (sum, inside, overlaps) = (Shared(), Shared(), Shared())
    let isAdded = poller.addKickHandler {
      if inside.count.add(1, ordering: .relaxed).newValue != 1 {
        overlaps.count.add(1, ordering: .relaxed)
      }
      while let value = ring.tryPop() { sum.count.add(value, ordering: .relaxed) }
      inside.count.subtract(1, ordering: .relaxed)
    }
    #expect(isAdded)
    let threads = (0..<3).map { number in
      PinnedThread(name: "work-\(number)") {
        for value in 1...500 {
          while !ring.tryPush(value) { sched_yield() }
          if value % 4 == 0 { usleep(300) }
          if !poller.runKickHandlersIfAsleep() { poller.kick() }
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(eventually { sum.value == 3 * 500 * 501 / 2 })
    #expect(overlaps.value == 0)
    poller.stop()
  }

  @Test func `a full ring of jobs refuses`() {
    var limits = RPCLimits()
    limits.pollerJobCountMax = 4
    let poller = Poller(name: "poller-test", limits: limits)
    let gate = WakeSignal()
    let started = Shared()
    #expect(
      poller.submit {
        started.count.add(1, ordering: .relaxed)
        gate.wait()
      })
    #expect(eventually { started.value == 1 })
    #expect((0..<4).allSatisfy { _ in poller.submit {} })
    #expect(!poller.submit {})
    gate.notify()
    poller.stop()
  }

  @Test func `a poller stops while other threads go on kicking it`() {
    for _ in 0..<200 {
      let poller = Poller(name: "poller-test")
      let kicker = PinnedThread(name: "kicker") { for _ in 0..<200 { poller.kick() } }
      poller.stop()
      kicker.join()
    }
  }

  @Test func `a stopped poller runs what was submitted and refuses the rest`() {
    let poller = Poller(name: "poller-test")
    let ran = Shared()
    for _ in 0..<100 { _ = poller.submit { ran.count.add(1, ordering: .relaxed) } }
    poller.stop()
    #expect(ran.value == 100)
    #expect(!poller.submit {})
    poller.kick()
  }
}

/// A counter that closures of other threads may hold.
final class Shared: Sendable {
  let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .relaxed) }
}
