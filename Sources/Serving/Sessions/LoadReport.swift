// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Step
internal import Synchronization

/// What one session is told of the server's load: the latest, if it differs from what it was told
/// last. A client that does not read has one report waiting, however long it takes.
///
/// Confined to the session's poller.
struct LoadReport {
  private var told: Silica_V1_Load?
  private var waiting: Silica_V1_Load?

  /// The load is so now.
  mutating func note(_ load: Silica_V1_Load) { waiting = load == told ? nil : load }

  /// What is to be sent, if anything; it counts as told.
  mutating func take() -> Silica_V1_Load? {
    guard let load = waiting else { return nil }
    told = load
    waiting = nil
    return load
  }
}

/// The sessions of one poller that are told of the load. Confined to the poller, but for `isEmpty`.
final class LoadListeners: @unchecked Sendable {  // sessions are touched on the poller only
  private var sessions: [ObjectIdentifier: SessionHandler] = [:] {
    didSet { count.store(sessions.count, ordering: .relaxed) }
  }
  private let count = Atomic<Int>(0)

  /// Any thread.
  var isEmpty: Bool { count.load(ordering: .relaxed) == 0 }

  func add(_ session: SessionHandler) { sessions[ObjectIdentifier(session)] = session }
  func remove(_ session: SessionHandler) { sessions[ObjectIdentifier(session)] = nil }
  func tell(_ load: Silica_V1_Load) { for session in sessions.values { session.tell(load) } }
}

/// When sessions are told. Any thread.
final class LoadClock: Sendable {
  /// nil: never.
  private let interval: Nanoseconds?
  private let next = Atomic<Nanoseconds>(0)

  init(interval: Nanoseconds?) { self.interval = interval }

  /// Whether it is time to tell; for one caller in each interval.
  func isDue(now: Nanoseconds) -> Bool {
    guard let interval else { return false }
    let time = next.load(ordering: .relaxed)
    guard now >= time else { return false }
    return next.compareExchange(
      expected: time, desired: now + interval, ordering: .relaxed
    ).exchanged
  }
}
