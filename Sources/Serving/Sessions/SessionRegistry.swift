// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support
internal import Synchronization

/// A call that must hear when the server stops. Called on its poller.
protocol DrainableHandler: AnyObject {
  func goAway(_ reason: String, grace: Duration)
  /// Ends every generation with this error.
  func endAll(_ error: ServingError)
}

/// The calls of one poller that generate. Confined to the poller, but for the shared flag.
final class SessionRegistry: @unchecked Sendable {  // handlers are touched on the poller only
  private var handlers: [ObjectIdentifier: any DrainableHandler] = [:]
  private let drain: DrainState
  private let statistics: LaneStatistics
  /// What a call that opens while the server stops hears at once, as the others have.
  private var goingAway: (reason: String, end: ContinuousClock.Instant)?
  private(set) var end: ServingError?

  init(drain: DrainState, statistics: LaneStatistics) {
    self.drain = drain
    self.statistics = statistics
  }

  /// The last act of a handler's `init`.
  func add(_ handler: any DrainableHandler) {
    handlers[ObjectIdentifier(handler)] = handler
    if let (reason, end) = goingAway { handler.goAway(reason, grace: max(.zero, end - .now)) }
    if let end { handler.endAll(end) }
  }

  func remove(_ handler: any DrainableHandler) { handlers[ObjectIdentifier(handler)] = nil }

  func generationBegan() {
    drain.generationCount.add(1, ordering: .acquiringAndReleasing)
    statistics.generationsBegun.add(1, ordering: .relaxed)
  }

  func generationEnded() {
    drain.generationCount.subtract(1, ordering: .acquiringAndReleasing)
    statistics.generationsEnded.add(1, ordering: .relaxed)
  }

  /// Counts it, if it was not: one that can be resumed may end again on another stream.
  func generationEnded(_ generation: SessionGeneration) {
    guard generation.isCounted else { return }
    generation.isCounted = false
    generation.ticket = nil
    generationEnded()
  }

  func checkIsAccepting() throws(ServingError) {
    guard !drain.isDraining.load(ordering: .acquiring) else { throw DrainState.refusal }
  }

  func goAway(_ reason: String, grace: Duration) {
    goingAway = (reason, .now + grace)
    for handler in handlers.values { handler.goAway(reason, grace: grace) }
  }

  func endAll(_ error: ServingError) {
    end = error
    for handler in handlers.values { handler.endAll(error) }
  }
}

/// Whether the server takes new generations, and how many run. Any thread.
final class DrainState: Sendable {
  let isDraining = Atomic<Bool>(false)
  /// Whether health says that it is about to stop; before `isDraining`, so that load balancers can
  /// turn elsewhere first.
  let isAnnounced = Atomic<Bool>(false)
  /// Generations begun and not ended, on all calls.
  let generationCount = Atomic<Int>(0)

  var hasGenerations: Bool { generationCount.load(ordering: .acquiring) > 0 }

  /// When to try again: another server is there at once, this one's successor soon.
  private static let retryDelay: Nanoseconds = 1_000_000_000

  /// For what begins too late.
  static let refusal = ServingError(
    .unavailable, "the server is shutting down; start on another one", reason: "DRAINING",
    retryDelay: retryDelay)
  /// For what was not finished in time.
  static let end = ServingError(
    .unavailable, "the server has shut down before the generation was finished",
    reason: "SHUT_DOWN", retryDelay: retryDelay)
}
