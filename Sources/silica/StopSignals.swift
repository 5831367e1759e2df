// SPDX-License-Identifier: Apache-2.0

import Glibc

/// SIGTERM and SIGINT as something to wait for. Silica's own threads block them (`PinnedThread`);
/// make it before gRPC starts threads, which inherit that they are blocked, so that the signals
/// reach only who waits here.
struct StopSignals {
  init() {
    var set = Self.set
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  private static var set: sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGTERM)
    sigaddset(&set, SIGINT)
    return set
  }

  /// Waits for one of them; returns whether one came in time.
  func wait(milliseconds: Int) -> Bool {
    var set = Self.set
    var time = timespec(tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000)
    return sigtimedwait(&set, nil, &time) > 0
  }

  /// Lets the next one end the process at once.
  static func endProcessAtNext() {
    var set = Self.set
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }
}
