// SPDX-License-Identifier: Apache-2.0

import Foundation
import Messages
import RPC
import TestSupport
import Testing

extension EndToEnd {
  /// Options of sampling, served on an emulated GPU, which draws by them itself.
  @Suite struct GPUSamplingTests {
    private struct Answer: Equatable {
      var ids: [UInt32] = []
      var logprobs: [Silica_V1_TokenLogprobs] = []
    }

    /// One of each, and all together.
    private static let changes: [@Sendable (inout Silica_V1_Start) -> Void] = [
      {
        $0.sampling.temperature = 0
        $0.sampling.logitBias = [42: 100]
        $0.output.logprobs = 3
      },
      {
        $0.sampling.presencePenalty = 1.5
        $0.sampling.frequencyPenalty = 0.5
        $0.sampling.repetitionPenalty = 1.2
      },
      {
        $0.sampling.temperature = 3
        $0.stopping.minTokens = 5
        $0.stopping.stopTokenIds = Array(0..<200)
        $0.output.logprobs = 0
      },
      {
        $0.sampling.logitBias = [7: 3, 9: -100, 200: 2.5]
        $0.sampling.frequencyPenalty = -1
        $0.sampling.topK = 30
        $0.stopping.minTokens = 3
        $0.stopping.stopTokenIds = [7]
        $0.output.logprobs = 20
      },
    ]

    private func start(_ generation: UInt32, _ prompt: [Int32]) -> Silica_V1_Start {
      var start = Silica_V1_Start.greedy(prompt.dropLast(Int(generation)), count: 6)
      start.sampling.temperature = 1
      start.sampling.seed = UInt64(generation)
      Self.changes[Int(generation) - 1](&start)
      return start
    }

    /// Runs each generation beside those of its group.
    private func answers(
      steps: String, _ groups: [[UInt32]]
    ) throws -> [UInt32: Answer] {
      let checkpoint = try TestModel.withTokenizer("v3-deep")
      var environment = try EmulatedGPUTests.environment()
      environment["SILICA_CUDA_STEPS"] = steps
      let server = try RunningServer.start(
        model: checkpoint.directory, ["--device", "cuda:0", "--max-batch", "4"],
        environment: environment)
      defer { server.stop() }
      var answers: [UInt32: Answer] = [:]
      for group in groups {
        let session = try InferenceClient(server).session()
        for generation in group {
          try session.start(generation, start(generation, checkpoint.prompt))
        }
        try session.sendEnd()
        while let frame = try session.receive() {
          if case .failed(let failed) = frame.frame { Issue.record("\(failed.status.message)") }
          guard case .delta(let delta) = frame.frame else { continue }
          answers[frame.generation, default: Answer()].ids += delta.tokenIds
          answers[frame.generation, default: Answer()].logprobs += delta.logprobs
        }
        #expect(try session.finish().code == .ok)
      }
      return answers
    }

    @Test func `options do what they say, in every way of steps, alone and beside others`() throws {
      let expected = try answers(steps: "kernels", [[1], [2], [3], [4]])
      let biased = try #require(expected[1])
      #expect(biased.ids == [42, 42, 42, 42, 42, 42])
      #expect(biased.logprobs.allSatisfy { $0.top.count == 3 && $0.logprob < $0.top[0].logprob })
      #expect(expected[2]?.ids.count == 6 && expected[2]?.logprobs.isEmpty == true)
      let masked = try #require(expected[3])
      #expect(masked.ids.prefix(5).allSatisfy { $0 >= 200 } && masked.logprobs.count >= 5)
      #expect(expected[4]?.ids.contains(9) == false)
      #expect(expected[4]?.ids.prefix(3).contains(7) == false)
      #expect(expected[4]?.logprobs.allSatisfy { $0.top.count == 20 } == true)
      for steps in ["kernels", "graphs", "one-launch"] {
        #expect(try answers(steps: steps, [[1, 2, 3, 4]]) == expected, "\(steps)")
      }
    }
  }
}
