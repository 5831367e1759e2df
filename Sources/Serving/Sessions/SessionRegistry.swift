// SPDX-License-Identifier: Apache-2.0

internal import Support
internal import Synchronization

/// A call that must hear when the server stops. Called on its poller.
protocol DrainableHandler: AnyObject {
  func goAway(_ reason: String, grace: Duration)
  /// Ends every generation with this error.
  func endAll(_ error: ServingError)
}

extension SessionHandler: DrainableHandler {}
extension GenerateHandler: DrainableHandler {}

/// The calls of one poller that generate. Confined to the poller, but for the shared flag.
final class SessionRegistry: @unchecked Sendable {  // handlers are touched on the poller only
  private var handlers: [ObjectIdentifier: any DrainableHandler] = [:]
  private let drain: DrainState

  init(drain: DrainState) { self.drain = drain }

  func add(_ handler: any DrainableHandler) { handlers[ObjectIdentifier(handler)] = handler }
  func remove(_ handler: any DrainableHandler) { handlers[ObjectIdentifier(handler)] = nil }

  func generationBegan() { drain.generationCount.add(1, ordering: .acquiringAndReleasing) }

  func generationsEnded(_ count: Int) {
    drain.generationCount.subtract(count, ordering: .acquiringAndReleasing)
  }

  func checkIsAccepting() throws(ServingError) {
    guard !drain.isDraining.load(ordering: .acquiring) else { throw DrainState.refusal }
  }

  func goAway(_ reason: String, grace: Duration) {
    for handler in handlers.values { handler.goAway(reason, grace: grace) }
  }

  func endAll(_ error: ServingError) {
    for handler in handlers.values { handler.endAll(error) }
  }
}

/// Whether the server takes new generations, and how many run. Any thread.
final class DrainState: Sendable {
  let isDraining = Atomic<Bool>(false)
  /// Generations begun and not ended, on all calls.
  let generationCount = Atomic<Int>(0)

  var hasGenerations: Bool { generationCount.load(ordering: .acquiring) > 0 }

  static let refusal = ServingError(
    .unavailable, "the server is shutting down; start on another one", reason: "DRAINING")
}
