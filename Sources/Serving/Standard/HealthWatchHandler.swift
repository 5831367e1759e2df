// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Wire

/// The calls of one poller that watch health. Confined to the poller.
final class HealthWatchers: @unchecked Sendable {  // touched on the poller only
  private var handlers: [ObjectIdentifier: HealthWatchHandler] = [:]

  func add(_ handler: HealthWatchHandler) { handlers[ObjectIdentifier(handler)] = handler }
  func remove(_ handler: HealthWatchHandler) { handlers[ObjectIdentifier(handler)] = nil }
  func notify() { for handler in handlers.values { handler.pump() } }
  /// A watch has no end of its own; a server that stops ends it.
  func endAll() { for handler in handlers.values { handler.end() } }
}

/// One `Watch` call: the status now, and at every change.
final class HealthWatchHandler: ServerCallHandler {
  private let call: ServerCall
  private let health: HealthService
  private let watchers: HealthWatchers
  private var service: String?
  private var lastSent: HealthService.Status?
  private var isEnding = false
  private var isOver = false

  init(call: ServerCall, health: HealthService, watchers: HealthWatchers) {
    self.call = call
    self.health = health
    self.watchers = watchers
    call.read()
  }

  func received(_ message: RawSpan, on call: ServerCall) {
    do {
      service = try Grpc_Health_V1_HealthCheckRequest(decoding: message).service
    } catch {
      return call.finish(Status(.invalidArgument, "undecodable request: \(error)"))
    }
    watchers.add(self)
    pump()
  }

  func receivedEnd(on call: ServerCall) {
    if service == nil { call.finish(Status(.invalidArgument, "the call ended without a request")) }
  }

  func readyToSend(on call: ServerCall) { pump() }

  func ended(on call: ServerCall, wasCancelled: Bool) {
    isOver = true
    watchers.remove(self)
  }

  func pump() {
    guard let service, !isOver else { return }
    let status = health.announcedStatus(of: service)
    if call.isReadyToSend, status != lastSent {
      lastSent = status
      call.send(.with { $0.status = status } as Grpc_Health_V1_HealthCheckResponse)
    }
    if isEnding, status == lastSent {
      isOver = true
      call.finish(Status(.unavailable, "the server is shutting down"))
    }
  }

  /// Ends the call once the client has been sent the last status.
  func end() {
    isEnding = true
    pump()
  }
}
