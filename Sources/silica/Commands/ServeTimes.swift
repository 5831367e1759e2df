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

  static let options = [
    Option(
      "--drain-delay", "SECONDS", "after SIGTERM, only health changes for so long", default: "0"),
    Option("--grace", "SECONDS", "then, time for running generations", default: "30"),
    Option("--step-limit", "SECONDS", "a device's older step turns health bad", default: "30"),
  ]

  init(_ arguments: Arguments) throws(UsageError) {
    drainDelay = .seconds(try arguments.seconds("--drain-delay", in: 0...86_400) ?? 0)
    grace = .seconds(try arguments.seconds("--grace", in: 0...86_400) ?? 30)
    stepLimit = try arguments.seconds("--step-limit", in: 0.1...86_400) ?? 30
  }

  /// The limits of the services with these times.
  func limits() -> ServingLimits {
    var limits = ServingLimits()
    limits.stepTimeMax = UInt64(stepLimit * 1e9)
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
