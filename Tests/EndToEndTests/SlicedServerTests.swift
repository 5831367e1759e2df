// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension EndToEnd {
  /// Greedy ids over the service: the same for each way to slice, alone and in a batch.
  @Suite struct SlicedServerTests {
    struct Slicing: CustomTestStringConvertible {
      let stages: Int
      let contextSlices: Int
      var testDescription: String { "\(stages) stages, \(contextSlices) context slices" }
    }

    private static let slicings = [1, 2, 4, 8].flatMap { stages in
      [1, 2, 8].map { Slicing(stages: stages, contextSlices: $0) }
    }

    @Test(arguments: ["v3-deep", "qwen2-deep"], slicings)
    func `greedy ids are those of transformers, alone and in a batch of 8`(
      model: String, slicing: Slicing
    ) throws {
      let checkpoint = try TestModel.withTokenizer(model)
      let options = [
        "--stages", "\(slicing.stages)", "--context-slices", "\(slicing.contextSlices)",
        "--precision", "f32", "--prefill-chunk", "\(7 * slicing.stages)", "--threads", "1",
      ]
      try RunningServer.with(model: checkpoint.directory, options) { server in
        let client = InferenceClient(server)
        let count = checkpoint.greedy.count
        #expect(try client.greedy(checkpoint.prompt, count: count) == checkpoint.greedy)
        let session = try client.session()
        for generation in 1...8 as ClosedRange<UInt32> {
          // Half of them say something else, so that a mix-up shows.
          let prompt =
            generation % 2 == 0 ? checkpoint.prompt : checkpoint.prompt.dropLast(Int(generation))
          try session.start(generation, .greedy(prompt, count: count))
        }
        try session.sendEnd()
        let ids = try session.receiveAll()
        #expect(ids.count == 8)
        for generation in [2, 4, 6, 8] as [UInt32] {
          #expect(ids[generation] == checkpoint.greedy, "generation \(generation)")
        }
        let others = ids.filter { $0.key % 2 == 1 }
        #expect(others.values.allSatisfy { $0.count == count && $0 != checkpoint.greedy })
      }
    }
  }
}
