// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import Step
import Testing

/// What is done at once must have the bits of each operation by itself.
extension OperationCase {
  /// A step of the first tokens of the first two sequences, so many together.
  func plan(rows: Int) -> StepPlan {
    let first = Array(sequences[0].prefix(rows))
    let second = sequences.count > 1 ? sequences[1] : []
    let rest = Array(second.prefix(rows - first.count))
    return CPUModelRun.plan([(0, first, 0), (1, rest, 0)].filter { !$0.1.isEmpty })
  }

  /// Expects steps, queued in each way, to give what operations give that are run one by one.
  ///
  /// - Parameters:
  ///   - prompt: a step before all of these.
  ///   - steps: how they are queued.
  ///   - device: one for each way.
  func expectBitsOfOperations(
    _ plans: [StepPlan], after prompt: StepPlan? = nil, steps: [CUDASteps] = CUDASteps.allCases,
    sourceLocation: SourceLocation = #_sourceLocation, on device: (CUDASteps) throws -> CUDADevice
  ) throws {
    guard case .logits(let value) = program.output else { return }
    let weights = RandomWeights(type: .bfloat16)
    var runs = try steps.map { try CPUModelRun(program, weights, on: device($0)) }
    if let prompt { for index in runs.indices { _ = try runs[index].logits(prompt) } }
    for plan in plans {
      try runs[0].begin(plan)
      for index in program.operations.indices { try runs[0].device.run(index..<index + 1) }
      let expected = try runs[0].values(value)
      let isNumber = expected.allSatisfy { $0.isFinite } && expected.contains { $0 != 0 }
      #expect(isNumber, sourceLocation: sourceLocation)
      for index in runs.indices {
        let isSame = bitsEqual(try runs[index].logits(plan), expected)
        #expect(
          isSame, "\(plan.tokens.count) rows, steps as \(steps[index])",
          sourceLocation: sourceLocation)
      }
    }
  }
}
