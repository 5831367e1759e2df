// SPDX-License-Identifier: Apache-2.0

import RPC
import Serving
import Support

/// Whom `silica serve` lets in, and how much of it they may take: TLS, tokens, limits.
struct ServeSecurity {
  static let options = ServeTLS.options + ServeTokens.options + ServeLimits.options

  static let discussion = """
    With --tls-certificate and --tls-key it speaks TLS 1.3 and nothing older. With --tokens a call
    carries the metadata 'authorization: Bearer TOKEN'; only health is open to all. Each line of
    that file has a tenant, a token or sha256:HEX of one, and limits:
      alice  sha256:HEX  per-minute=60 burst=10 at-once=4
    Certificates and tokens are taken again when their files change; streams go on.
    """

  private var tls: ServeTLS?
  private var tokens: ServeTokens?
  private let limits: ServeLimits
  private var reported = Refusals()
  private var nextReport: UInt64 = 0
  /// Refusals are told this often at most.
  private static let reportNanoseconds: UInt64 = 10_000_000_000

  private struct Refusals: Equatable {
    var connections = ConnectionGate.Refusals()
    var calls = 0
  }

  init(_ arguments: Arguments, addresses: [Address]) throws {
    limits = try ServeLimits(arguments)
    tls = try ServeTLS(arguments)
    tokens = try ServeTokens(arguments, addresses: addresses, isEncrypted: tls != nil)
  }

  var access: AccessControl? { tokens?.access }

  func configuration(at addresses: [Address]) -> ServerConfiguration {
    var configuration = ServerConfiguration(addresses: addresses)
    configuration.limits = limits.rpc
    if let tls { configuration.credentials = tls.credentials }
    return configuration
  }

  /// What concerns the process. Once, when the server listens.
  func start() throws {
    CoreLog.limit()
    try limits.limitConnections()
  }

  /// Looks at files that may have changed, and tells who was refused; about twice a second.
  mutating func refresh() {
    tls?.refresh()
    tokens?.refresh()
    let now = Refusals(connections: ConnectionGate.refusals, calls: access?.refusalCount ?? 0)
    guard now != reported, Clock.nowNanoseconds >= nextReport else { return }
    nextReport = Clock.nowNanoseconds + Self.reportNanoseconds
    report(now.connections.overLimit - reported.connections.overLimit, "connections over the limit")
    report(
      now.connections.withoutDescriptor - reported.connections.withoutDescriptor,
      "connections for want of file descriptors")
    report(now.calls - reported.calls, "calls without a valid token")
    reported = now
  }

  private func report(_ count: Int, _ what: String) {
    if count > 0 { Console.error("silica: refused \(count) \(what)\n") }
  }
}
