// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Synchronization

/// What `grpc.health.v1.Health` says, by the name of a service.
///
/// `Check` judges when it is asked, so that its answer is true even if nobody calls `refresh`;
/// watchers hear of what `refresh` has found. Any thread.
final class HealthService: Sendable {
  typealias Status = Grpc_Health_V1_HealthCheckResponse.ServingStatus

  private struct Announced {
    var report: HealthReport
    /// Whether watchers have not been told yet.
    var isNew = false
  }

  private let aspects: [String: HealthReport.Aspect]
  private let judge: @Sendable () -> HealthReport
  private let announced: Mutex<Announced>

  /// - Parameters:
  ///   - services: those that are served; "" is the whole server, and the aspects are named beside
  ///     them.
  ///   - judge: looks at the engine. Called on pollers; must not block.
  init(services: [String], judge: @escaping @Sendable () -> HealthReport) {
    var aspects: [String: HealthReport.Aspect] = [
      "": .whole, "liveness": .liveness, "readiness": .readiness, "progress": .progress,
    ]
    for service in services { aspects[service] = .whole }
    self.aspects = aspects
    self.judge = judge
    announced = Mutex(Announced(report: judge()))
  }

  /// The status of a service now, or nil for one that is not here.
  func status(of service: String) -> Status? {
    aspects[service].map { judge().isServing($0) ? .serving : .notServing }
  }

  /// The status of a service as of the last `refresh`; SERVICE_UNKNOWN for one that is not here.
  func announcedStatus(of service: String) -> Status {
    guard let aspect = aspects[service] else { return .serviceUnknown }
    return announced.withLock { $0.report.isServing(aspect) } ? .serving : .notServing
  }

  /// Judges again. Returns whether there is something that watchers have not been told.
  func refresh() -> Bool {
    let report = judge()
    return announced.withLock { announced in
      if announced.report != report { announced = Announced(report: report, isNew: true) }
      return announced.isNew
    }
  }

  /// All watchers are being told.
  func watchersAreTold() { announced.withLock { $0.isNew = false } }
}
