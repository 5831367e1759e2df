// SPDX-License-Identifier: Apache-2.0

import Glibc

/// SIGTERM and SIGINT as something to wait for. Make it before any thread starts: threads inherit
/// that the signals are blocked, so they reach only who waits here.
struct StopSignals {
  private var set = sigset_t()

  init() {
    sigemptyset(&set)
    sigaddset(&set, SIGTERM)
    sigaddset(&set, SIGINT)
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// Waits for one of them; returns whether one came in time.
  func wait(milliseconds: Int) -> Bool {
    var set = set
    var time = timespec(tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000)
    return sigtimedwait(&set, nil, &time) > 0
  }

  /// Lets the next one end the process at once.
  func endProcessAtNext() {
    var set = set
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }
}
