// SPDX-License-Identifier: Apache-2.0

import RPC
import Serving

/// The options of `serve` that are times.
struct ServeTimes {
  /// Between SIGTERM and the first refusal.
  var drainDelay: Duration
  /// For running generations after that.
  var grace: Duration
  /// What one step of a device may take.
  var stepLimit: Double
  /// Quiet time of a connection before the client is pinged, and for the answer.
  var keepaliveInterval: Double
  var keepaliveTimeout: Double
  /// Between reports of the load; 0 for none.
  var loadInterval: Double

  static let options = [
    Option(
      "--drain-delay", "SECONDS", "after SIGTERM, only health changes for so long", default: "0"),
    Option("--grace", "SECONDS", "then, time for running generations", default: "30"),
    Option("--step-limit", "SECONDS", "a device's older step turns health bad", default: "30"),
    Option(
      "--keepalive-interval", "SECONDS", "ping a client that is quiet for so long", default: "60"),
    Option(
      "--keepalive-timeout", "SECONDS", "without an answer the client is gone", default: "20"),
    Option(
      "--load-interval", "SECONDS", "tell sessions of a changed load this often; 0: never",
      default: "1"),
  ]

  init(_ arguments: Arguments) throws(UsageError) {
    drainDelay = .seconds(try arguments.seconds("--drain-delay", in: 0...86_400) ?? 0)
    grace = .seconds(try arguments.seconds("--grace", in: 0...86_400) ?? 30)
    stepLimit = try arguments.seconds("--step-limit", in: 0.1...86_400) ?? 30
    loadInterval = try arguments.seconds("--load-interval", in: 0...86_400) ?? 1
    let limits = RPCLimits()
    keepaliveInterval =
      try arguments.seconds("--keepalive-interval", in: 0.1...86_400)
      ?? Double(limits.keepaliveIntervalMilliseconds) / 1_000
    keepaliveTimeout =
      try arguments.seconds("--keepalive-timeout", in: 0.1...86_400)
      ?? Double(limits.keepaliveTimeoutMilliseconds) / 1_000
  }

  /// Sets the times of the transport.
  func apply(to limits: inout RPCLimits) {
    limits.keepaliveIntervalMilliseconds = Int(keepaliveInterval * 1_000)
    limits.keepaliveTimeoutMilliseconds = Int(keepaliveTimeout * 1_000)
  }

  /// The limits of the services with these times.
  func limits() -> ServingLimits {
    var limits = ServingLimits()
    limits.stepTimeMax = UInt64(stepLimit * 1e9)
    limits.loadInterval = loadInterval > 0 ? UInt64(loadInterval * 1e9) : nil
    return limits
  }
}

extension Arguments {
  /// Seconds, decimals allowed; nil when the option is not given.
  func seconds(_ name: String, in range: ClosedRange<Double>) throws(UsageError) -> Double? {
    guard let text = string(name) else { return nil }
    guard let value = Double(text), range.contains(value) else {
      throw UsageError(
        "\(name) is '\(text)'; expected seconds from \(Self.short(range.lowerBound)) to "
          + Self.short(range.upperBound))
    }
    return value
  }

  /// 30, not 30.0.
  private static func short(_ value: Double) -> String {
    Int(exactly: value).map { "\($0)" } ?? "\(value)"
  }
}
