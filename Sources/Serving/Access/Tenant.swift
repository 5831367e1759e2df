// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support
internal import Synchronization

/// Who uses the server: has one or more tokens, and limits that all of them share. Lives as long as
/// its name is in the file of tokens, or one of its generations runs. Any thread; used once for
/// each generation, never for a token of text.
final class Tenant: Sendable {
  fileprivate struct State {
    var limits: TenantLimits
    var rate = RateLimit()
    var runningCount = 0
  }

  let name: String
  private let state: Mutex<State>

  init(name: String, limits: TenantLimits) {
    self.name = name
    state = Mutex(State(limits: limits))
  }

  /// From now on; what has been used counts on.
  func setLimits(_ limits: TenantLimits) { state.withLock { $0.limits = limits } }

  /// Lets a generation begin, or says what is used up and when to try again.
  func admitGeneration(now: Nanoseconds) throws(ServingError) -> GenerationTicket {
    let refusal = state.withLock { $0.admit(now: now) }
    if let refusal { throw refusal.error(tenant: name) }
    return GenerationTicket(of: self)
  }

  fileprivate func generationEnded() { state.withLock { $0.runningCount -= 1 } }

  fileprivate enum Refusal {
    case rate(perMinute: Int, wait: Nanoseconds)
    case atOnce(Int)

    func error(tenant: String) -> ServingError {
      switch self {
      case .rate(let perMinute, let wait):
        ServingError(
          .resourceExhausted,
          "tenant '\(tenant)' may begin \(perMinute) generations a minute; try again in "
            + "\(wait / 1_000_000 + 1) ms", reason: "TENANT_RATE", retryDelay: wait)
      case .atOnce(let count):
        ServingError(
          .resourceExhausted, "tenant '\(tenant)' has \(count) generations running, as many as may",
          reason: "TENANT_BUSY", retryDelay: 1_000_000_000)
      }
    }
  }
}

extension Tenant.State {
  fileprivate mutating func admit(now: Nanoseconds) -> Tenant.Refusal? {
    // First, so that the rate is not used up by what is refused.
    if let atOnce = limits.atOnce, runningCount >= atOnce { return .atOnce(runningCount) }
    if let wait = rate.take(limits, now: now) {
      return .rate(perMinute: limits.perMinute ?? 0, wait: wait)
    }
    runningCount += 1
    return nil
  }
}

/// The place of one generation among those that its tenant may have at once. It is free again when
/// the last reference goes.
final class GenerationTicket: Sendable {
  let tenant: Tenant

  fileprivate init(of tenant: Tenant) { self.tenant = tenant }

  deinit { tenant.generationEnded() }
}
