// SPDX-License-Identifier: Apache-2.0

import Engine
import Executor
import Serving
import Testing

/// How signs of life are judged.
@Suite struct HealthReportTests {
  private static let second: UInt64 = 1_000_000_000

  private func report(
    isDraining: Bool = false, stages: Int = 1, _ change: (inout EngineLoad) -> Void = { _ in }
  ) -> HealthReport {
    var load = EngineLoad()
    load.executors = [executor(isBusy: false, age: 3_600 * Self.second)]
    change(&load)
    return HealthReport(
      load, isDraining: isDraining, stepTimeMax: 30 * Self.second, stageCount: stages)
  }

  private func executor(isBusy: Bool, age: UInt64) -> ExecutorHealth {
    ExecutorHealth(
      name: "exec-0", device: "", stepCount: 1, isBusy: isBusy, heartbeatAge: age, failure: nil)
  }

  private func serving(_ report: HealthReport) -> [HealthReport.Aspect] {
    HealthReport.Aspect.allCases.filter { report.isServing($0) }
  }

  @Test func `an idle engine is well, however long its executors have had nothing to do`() {
    #expect(serving(report()) == [.whole, .liveness, .readiness, .progress])
  }

  @Test func `a step within the limit is no reason, and one beyond it is`() {
    #expect(
      serving(report { $0.executors.append(executor(isBusy: true, age: 30 * Self.second)) })
        == [.whole, .liveness, .readiness, .progress])
    #expect(
      serving(report { $0.executors.append(executor(isBusy: true, age: 30 * Self.second + 1)) })
        == [.progress])
  }

  @Test func `an engine that does not go round is not alive`() {
    #expect(serving(report { $0.heartbeatAge = 31 * Self.second }) == [.progress])
  }

  @Test func `work without a finished step is no progress, and the threads may live`() {
    #expect(serving(report { $0.stallAge = 31 * Self.second }) == [.liveness, .readiness])
    // A step passes one stage after the other, each with a limit of its own.
    let staged = report(stages: 2) { $0.stallAge = 31 * Self.second }
    #expect(staged.isServing(.whole))
    #expect(!report(stages: 2) { $0.stallAge = 61 * Self.second }.isServing(.progress))
  }

  @Test func `a server that drains lives and takes nothing`() {
    #expect(serving(report(isDraining: true)) == [.liveness, .progress])
    #expect(serving(report { $0.isAccepting = false }) == [.liveness, .progress])
  }

  @Test func `an engine that has failed wants a new process`() {
    #expect(serving(report { $0.failure = "a device failed" }) == [.progress])
  }
}
