// SPDX-License-Identifier: Apache-2.0

import Scheduler
import Step
import Testing

@Suite struct SimulationTests {
  @Test("Whatever happens, every sequence ends once with the right tokens and no block is lost")
  func everySeedKeepsTheRules() {
    var accounts: [SequenceAccount] = []
    var refusalCount = 0
    for seed in 0..<UInt64(1000) {
      var simulation = Simulation(seed: seed)
      simulation.run(arrivals: 40)
      #expect(
        simulation.violations.isEmpty, "seed \(seed), \(simulation.configuration)")
      accounts += simulation.clients.compactMap { $0.finish?.account }
      refusalCount += simulation.refusalCount
    }
    // The seeds reach what they are to test.
    #expect(accounts.count { $0.preemptionCount > 1 } > 50)
    #expect(accounts.count { $0.cachedTokens > 0 } > 1000)
    #expect(accounts.count { $0.generatedTokens > 10 } > 1000)
    #expect(refusalCount > 1000)
  }

  @Test("The same seed gives the same plans")
  func runsRepeat() {
    for seed in 0..<UInt64(20) {
      var first = Simulation(seed: seed)
      var second = Simulation(seed: seed)
      first.run(arrivals: 20)
      second.run(arrivals: 20)
      #expect(first.trace == second.trace, "seed \(seed)")
    }
  }
}
