// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  /// Kernels give the same bits in whatever order an emulated GPU runs what a GPU runs in any:
  /// lanes of a warp, warps of a block, blocks of a grid, and the begin of a kernel before the end
  /// of the one in front. Where a barrier or a wait is missing, one of the orders shows it.
  @Suite struct EmulatedOrderTests {
    private func run(
      _ order: String, _ arguments: [String], steps: String = "graphs"
    ) throws -> Command.Result {
      var variables = try EmulatedGPUTests.environment()
      variables["SILICA_EMULATED_ORDER"] = order
      variables["SILICA_CUDA_STEPS"] = steps
      return try Command.run(
        "/usr/bin/env",
        variables.map { "\($0.key)=\($0.value)" } + ["/usr/bin/timeout", "--kill-after=5", "120"]
          + [try SilicaCommand.path()] + arguments)
    }

    /// The checks say how far each operation is from the reference, in all digits, and that batches
    /// of all sizes, a prompt, slices and draws give the bits that they should.
    @Test func `no order changes a bit of what verify runs`() throws {
      let arguments = [
        "verify", "--device", "cuda:0", "--shapes", "tiny-v3", "--rows", "21", "--seed", "5",
        "--precision", "bf16,fp8a8", "--kv-precision", "bf16",
      ]
      let forward = try run("forward", arguments)
      try #require(forward.status == 0, "\(forward.output)\(forward.errors)")
      for order in ["backward", "shuffled:1"] {
        let other = try run(order, arguments)
        #expect(other.output == forward.output, "\(order): \(other.errors)")
      }
    }

    @Test(arguments: [("graphs", "fp8"), ("one-launch", "bf16")])
    func `no order changes a bit of whole steps`(steps: String, keys: String) throws {
      let checkpoint = try SyntheticCheckpoint("v3-deep")
      let folder = try TemporaryDirectory()
      func logits(_ order: String) throws -> [UInt32] {
        let arguments = [
          "--tokens", "5,17,230,42,9", "--device", "cuda", "--prefill-chunk", "2",
          "--kv-precision", keys,
        ]
        let result = try run(
          order,
          ["logits", "--model", checkpoint.directory, "--out", folder.path("\(order).npy")]
            + arguments, steps: steps)
        try #require(result.status == 0, "\(order): \(result.errors)")
        let array = try NumPyArray(contentsOfFile: folder.path("\(order).npy"))
        return array.values.map(\.bitPattern)
      }
      let forward = try logits("forward")
      for order in ["backward", "shuffled:1", "shuffled:2"] {
        #expect(try logits(order) == forward, "\(order)")
      }
    }

    @Test func `what is no order is named`() throws {
      let checkpoint = try SyntheticCheckpoint("qwen2")
      let arguments = ["--device", "cuda", "--tokens", "1", "--out", "/dev/null"]
      for order in ["sideways", "shuffled", "shuffled:", "shuffled:1x"] {
        let result = try run(order, ["logits", "--model", checkpoint.directory] + arguments)
        #expect(result.status != 0)
        #expect(result.errors.contains("forward, backward, shuffled:SEED"), "\(result.errors)")
      }
    }
  }
}
