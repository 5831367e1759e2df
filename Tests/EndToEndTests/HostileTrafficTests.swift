// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension EndToEnd {
  /// The short form of `Benchmarks/soak/hostile.py`.
  @Suite struct HostileTrafficTests {
    @Test func `hostile traffic leaves the server serving, and as small as it was`() throws {
      try attack([
        "random_bytes", "mutated_bytes", "wrong_lengths", "rapid_reset", "short_deadlines",
        "continuation_flood", "settings_flood", "ping_flood", "window_flood", "empty_data",
        "zero_windows", "slowloris", "half_closed", "connection_churn", "too_many_calls",
      ])
    }

    @Test func `so does hostile traffic within TLS`() throws {
      try attack(
        ["random_bytes", "mutated_bytes", "rapid_reset", "continuation_flood", "ping_flood"],
        "--tls")
    }

    private func attack(_ attacks: [String], _ options: String...) throws {
      // The program's own limit of 100 ms is for a quiet machine; and an attack that is not stopped
      // gets further than this within its half second.
      let result = try PythonProcess.run(
        [
          Repository.path("Benchmarks/soak/hostile.py"), "--silica", try SilicaCommand.path(),
          "--seconds", "0.5", "--rounds", "1", "--within-ms", "5000", "--peak-mib", "200",
        ] + options + ["--only"] + attacks)
      #expect(result.status == 0, "\(result.output)\(result.errors)")
    }
  }
}
