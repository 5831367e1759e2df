// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension EndToEnd {
  /// The programs of `Benchmarks/soak` in short forms. They check every frame and every count.
  @Suite struct SoakTests {
    @Test func `a storm of calls, cancels and killed clients leaves nothing behind`() throws {
      let result = try Self.run(
        "storm.py",
        [
          "--rounds", "4", "--warm-up", "2", "--calls", "2500", "--streams", "500",
          "--cancels", "500", "--kills", "48",
          // Few rounds tell little of a slope: this is 26 bytes held after each call.
          "--slope-max", "256",
        ])
      #expect(result.status == 0, "\(result.errors)\(result.output)")
      #expect(result.output.split(separator: "\n").count { $0.hasPrefix("2500 calls in") } == 6)
    }

    @Test func `a reader that stops costs one window of tokens and loses none`() throws {
      let result = try Self.run(
        "slow_reader.py",
        [
          "--readers", "15", "--window-ms", "500", "--stall-windows", "10",
          "--slow-tokens", "2000",
          // Gaps are for the long form, on a machine that does nothing else.
          "--gap-max", "10000",
          "--", "--token-rate", "400", "--token-bytes", "200",
        ])
      #expect(result.status == 0, "\(result.errors)\(result.output)")
      #expect(result.output.contains("read 2000 of 2000 tokens, equal: True"), "\(result.output)")
    }

    private static func run(_ program: String, _ options: [String]) throws -> Command.Result {
      let silica = ["--silica", try SilicaCommand.path()]
      return try PythonProcess.run(
        [Repository.path("Benchmarks/soak/\(program)")] + silica + options)
    }
  }
}
