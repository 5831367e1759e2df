// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Engine
import Executor
import Program
import Step
import TestSupport
import Testing
import Topology

/// Whole generations on an emulated GPU: its tokens, and their log-probabilities, are those that
/// the host makes of its logits.
struct DrawnGenerationTests {
  /// What each sequence of a batch asks for.
  private static let changes: [@Sendable (inout SequenceSubmission) -> Void] = [
    { _ in },
    { $0.sampling.temperature = 0.4 },
    { $0.sampling.temperature = 0.8 },
    {
      $0.sampling.temperature = 1.2
      $0.sampling.topK = 20
      $0.sampling.topP = 0.9
    },
    {
      $0.sampling.temperature = 1.6
      $0.sampling.minP = 0.05
      $0.sampling.logprobs = 3
    },
    {
      $0.sampling.temperature = 1
      $0.sampling.frequencyPenalty = 1
    },
    {
      $0.sampling.repetitionPenalty = 1.4
      $0.sampling.presencePenalty = -0.5
      $0.sampling.logprobs = 20
    },
    {
      $0.sampling.temperature = 0.9
      $0.sampling.logitBias = (0..<96).map { TokenBias(token: $0, bias: Float($0 % 7)) }
      $0.sampling.topP = 0.5
      $0.sampling.logprobs = 0
    },
    {
      $0.stopping.minTokens = 5
      $0.stopping.stopTokens = (0..<90).map { $0 } + [7]
      $0.sampling.temperature = 2
      $0.sampling.logprobs = 1
    },
    {
      $0.stopping.minTokens = 7
      $0.stopping.stopTokens = (20..<80).map { $0 }
      $0.sampling.temperature = 1.5
      $0.sampling.logitBias = (10..<30).map { TokenBias(token: $0, bias: 4) }
      $0.sampling.repetitionPenalty = 0.7
      $0.sampling.frequencyPenalty = 0.3
      $0.sampling.topK = 12
      $0.sampling.logprobs = 5
    },
    {
      // The host's, whoever has the logits: nothing can be drawn.
      $0.stopping.minTokens = 2
      $0.stopping.stopTokens = (0..<96).map { $0 }
    },
  ]

  private struct Answer: Equatable {
    var tokens: [Int32]
    var logprobs: [TokenLogprobs?]
    var reasons: [FinishReason]
  }

  private func generate(
    stages: Int, steps: CUDASteps, drawsOnHost: Bool
  ) throws -> [Answer] {
    var configuration = EngineConfiguration()
    configuration.blockTokens = 4
    configuration.rowCountMax = 16
    configuration.batchMax = steps == .oneLaunch ? 4 : Self.changes.count
    configuration.stages = stages
    let engine = try Engine.start(
      RandomModel.dense.program, from: RandomWeights(),
      devices: { seat throws(DeviceError) in
        let device = try CUDADevice(
          CUDADeviceConfiguration(
            gpu: seat.stage % 2, driverPath: EmulatedGPU.driverPath,
            kernelPath: EmulatedGPU.kernelPath, steps: steps))
        return drawsOnHost ? DeviceWithoutDraws(device) : device
      }, configuration: configuration, topology: Topology.current())
    defer { engine.shutdown() }
    let recorder = Recorder()
    let ids = try Self.changes.enumerated().map { index, change in
      var submission = SequenceSubmission.greedy([5, 17, Int32(index)], tokens: 10)
      submission.sampling.seed = UInt64(70 + index)
      change(&submission)
      return try engine.submit(submission, to: recorder)
    }
    return ids.map { id in
      let outcome = recorder.finished(id)
      return Answer(
        tokens: outcome.tokens, logprobs: outcome.logprobs, reasons: outcome.reasons)
    }
  }

  @Test(arguments: [(1, CUDASteps.graphs), (2, .graphs), (1, .kernels), (1, .oneLaunch)])
  func `a GPU's tokens are those of its logits`(stages: Int, steps: CUDASteps) throws {
    let expected = try generate(stages: stages, steps: steps, drawsOnHost: true)
    #expect(Set(expected.map(\.tokens)).count == Self.changes.count)
    #expect(expected[8].tokens.count >= 5 && expected[9].tokens.count >= 7)
    #expect(expected[10].tokens.isEmpty)
    let drawn = try generate(stages: stages, steps: steps, drawsOnHost: false)
    for index in Self.changes.indices {
      #expect(drawn[index] == expected[index], "sequence \(index)")
    }
  }
}

/// A device whose logits the host draws from.
private final class DeviceWithoutDraws: Device {
  private let device: any Device

  init(_ device: any Device) { self.device = device }

  var summary: String { device.summary }

  func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    try device.load(program, from: weights, capacity: capacity, progress: progress)
  }

  func begin(_ plan: StepPlan) throws(DeviceError) { try device.begin(plan) }
  func run(_ operations: Range<Int>) throws(DeviceError) { try device.run(operations) }

  func read(
    _ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError) {
    try device.read(value, into: destination)
  }

  func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) throws(DeviceError) {
    try device.write(value, from: source)
  }
}
