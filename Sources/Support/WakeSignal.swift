// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// Lets one thread sleep until another has work for it.
///
/// A notification is remembered until the next `wait`, so "push, then notify" against "wait, then
/// pop" loses nothing. `notify` takes the lock only when somebody sleeps. One thread waits; any
/// thread notifies.
package final class WakeSignal: @unchecked Sendable {  // the C objects are made for sharing
  private enum State {
    static let idle: UInt32 = 0
    static let notified: UInt32 = 1
    static let sleeping: UInt32 = 2
  }

  private let state = Atomic<UInt32>(State.idle)
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  package init() {
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// Wakes the waiting thread, now or at its next `wait`.
  package func notify() {
    let previous = state.exchange(State.notified, ordering: .acquiringAndReleasing)
    guard previous == State.sleeping else { return }
    // Once we had the lock, the sleeper has seen the notification or waits on the condition. It is
    // woken without the lock: it would run at once, often in our place, only to sleep for that.
    pthread_mutex_lock(mutex)
    pthread_mutex_unlock(mutex)
    pthread_cond_signal(condition)
  }

  /// Sleeps until notified or, if given, until `deadline` on `Clock`. Returns whether notified.
  @discardableResult
  package func wait(until deadline: UInt64? = nil) -> Bool {
    let (wasIdle, _) = state.compareExchange(
      expected: State.idle, desired: State.sleeping, ordering: .acquiringAndReleasing)
    if wasIdle { sleep(until: deadline) }
    return state.exchange(State.idle, ordering: .acquiringAndReleasing) == State.notified
  }

  private func sleep(until deadline: UInt64?) {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while state.load(ordering: .acquiring) == State.sleeping {
      guard let deadline else {
        pthread_cond_wait(condition, mutex)
        continue
      }
      var time = timespec(
        tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
      if pthread_cond_timedwait(condition, mutex, &time) == ETIMEDOUT { return }
    }
  }
}
