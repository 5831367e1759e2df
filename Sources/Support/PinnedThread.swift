// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc

/// A thread of the operating system with a name and, if wanted, CPUs of its own.
///
/// Silica's threads are few and fixed at start; each owns its data. Must be joined.
package final class PinnedThread: Sendable {
  /// Linux's shortest; its usual turns are some milliseconds.
  private static let shortTurnNanoseconds: UInt64 = 100_000

  private let handle: pthread_t
  package let name: String

  /// Starts a thread. `cpus` are the numbers of the CPUs it may run on, all if empty; what the
  /// system does not allow is not forced (containers), and the thread runs where it may. `name`
  /// is cut to the 15 bytes that Linux shows.
  ///
  /// - Parameter takesShortTurns: for a thread that has little to do and others wait for: on a busy
  ///   CPU it need not wait for the end of another's turn. Its share of time stays the same. Linux
  ///   before 6.12 makes no difference.
  package init(
    name: String, cpus: [Int] = [], takesShortTurns: Bool = false,
    body: @escaping @Sendable () -> Void
  ) {
    self.name = name
    let start = Unmanaged.passRetained(
      ThreadStart(
        name: name, cpus: cpus,
        turnNanoseconds: takesShortTurns ? Self.shortTurnNanoseconds : nil, body: body))
    var thread = pthread_t()
    let code = pthread_create(&thread, nil, threadEntry, start.toOpaque())
    check(code == 0, "cannot start thread \(name): error \(code)")
    handle = thread
  }

  /// Waits until the body has returned; once, and not from the thread itself.
  package func join() {
    let code = pthread_join(handle, nil)
    check(code == 0, "cannot join thread \(name): error \(code)")
  }

  /// Moves the calling thread to other CPUs. What the system does not allow is not forced.
  package static func moveCurrent(to cpus: [Int]) {
    if !cpus.isEmpty { pinCurrentThread(to: cpus) }
  }

  /// The CPUs the calling thread may run on, in rising order.
  package static var currentCPUs: [Int] {
    var words = [UInt64](repeating: 0, count: cpuWordCount)
    guard clinux_get_thread_cpus(&words, words.count) == 0 else { return [] }
    return (0..<words.count * 64).filter { words[$0 / 64] & (1 << UInt64($0 % 64)) != 0 }
  }
}

/// Room for the numbers of 8,192 CPUs, the most that Linux is built for.
private let cpuWordCount = 128

private final class ThreadStart: Sendable {
  let name: String
  let cpus: [Int]
  let turnNanoseconds: UInt64?
  let body: @Sendable () -> Void

  init(
    name: String, cpus: [Int], turnNanoseconds: UInt64?, body: @escaping @Sendable () -> Void
  ) {
    self.name = name
    self.cpus = cpus
    self.turnNanoseconds = turnNanoseconds
    self.body = body
  }
}

// A free function: a closure written in `main` would be inferred to run on the main actor and trap.
private func threadEntry(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  let start = Unmanaged<ThreadStart>.fromOpaque(context).takeRetainedValue()
  clinux_set_thread_name(String(decoding: start.name.utf8.prefix(15), as: UTF8.self))
  blockStopSignals()
  if !start.cpus.isEmpty { pinCurrentThread(to: start.cpus) }
  // A system that refuses this has turns as it likes.
  if let turn = start.turnNanoseconds { _ = clinux_set_thread_slice(turn) }
  start.body()
  return nil
}

/// Leaves SIGTERM and SIGINT to the process's first thread, whose business it is to stop; threads
/// that this one starts do so too.
private func blockStopSignals() {
  var set = sigset_t()
  sigemptyset(&set)
  sigaddset(&set, SIGTERM)
  sigaddset(&set, SIGINT)
  pthread_sigmask(SIG_BLOCK, &set, nil)
}

private func pinCurrentThread(to cpus: [Int]) {
  var words = [UInt64](repeating: 0, count: cpuWordCount)
  for cpu in cpus where cpu / 64 < words.count { words[cpu / 64] |= 1 << UInt64(cpu % 64) }
  _ = clinux_set_thread_cpus(words, words.count)
}
