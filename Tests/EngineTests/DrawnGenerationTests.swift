// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Engine
import Executor
import Step
import TestSupport
import Testing
import Topology

/// Whole generations on an emulated GPU: its tokens are those that the host draws from its logits.
struct DrawnGenerationTests {
  /// Sequences of one batch, `logprobs` as given: with them the host draws.
  private func generate(logprobs: Int?, stages: Int) throws -> [[Int32]] {
    var configuration = EngineConfiguration()
    configuration.blockTokens = 4
    configuration.rowCountMax = 16
    configuration.batchMax = 6
    configuration.stages = stages
    let engine = try Engine.start(
      RandomModel.dense.program, from: RandomWeights(),
      devices: { seat throws(DeviceError) in
        try CUDADevice(
          CUDADeviceConfiguration(
            gpu: seat.stage % 2, driverPath: EmulatedGPU.driverPath,
            kernelPath: EmulatedGPU.kernelPath))
      }, configuration: configuration, topology: Topology.current())
    defer { engine.shutdown() }
    let recorder = Recorder()
    let ids = try (0..<6).map { index in
      var submission = SequenceSubmission.greedy([5, 17, Int32(index)], tokens: 10)
      submission.sampling.temperature = 0.4 * Float(index)
      submission.sampling.topK = index == 3 ? 20 : 0
      submission.sampling.topP = index < 3 ? 1 : 0.9
      submission.sampling.minP = index == 4 ? 0.05 : 0
      submission.sampling.frequencyPenalty = index == 5 ? 1 : 0
      submission.sampling.seed = UInt64(70 + index)
      submission.sampling.logprobs = logprobs
      return try engine.submit(submission, to: recorder)
    }
    return ids.map { recorder.finished($0).tokens }
  }

  @Test(arguments: [1, 2])
  func `a GPU's tokens are those of its logits`(stages: Int) throws {
    let drawn = try generate(logprobs: nil, stages: stages)
    #expect(drawn.allSatisfy { $0.count == 10 } && Set(drawn).count == 6)
    #expect(try generate(logprobs: 0, stages: stages) == drawn)
  }
}
