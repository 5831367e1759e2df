// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  /// `silica logits` beside the stored logits of transformers, on each device and sliced each way.
  @Suite struct LogitsTests {
    private static let tolerance: Float = 2e-4

    /// The largest difference between what the command writes and transformers' logits.
    private func difference(
      _ checkpoint: SyntheticCheckpoint, _ options: String...
    ) throws -> Float {
      try difference(
        checkpoint, from: checkpoint.logits, rows: checkpoint.prompt.count, options)
    }

    private func difference(
      _ checkpoint: SyntheticCheckpoint, from expected: [Float], rows: Int, _ options: [String]
    ) throws -> Float {
      let folder = try TemporaryDirectory()
      let tokens = checkpoint.prompt.map(String.init).joined(separator: ",")
      let result = try SilicaCommand.run(
        ["logits", "--model", checkpoint.directory, "--tokens", tokens]
          + ["--out", folder.path("logits.npy")] + options)
      try #require(result.status == 0, "\(result.errors)")
      let logits = try NumPyArray(contentsOfFile: folder.path("logits.npy"))
      try #require(logits.shape == [rows, expected.count / rows])
      let differences = zip(logits.values, expected).map { abs($0 - $1) }
      return differences.contains(where: \.isNaN) ? .nan : differences.max() ?? .nan
    }

    @Test(arguments: SyntheticCheckpoint.names)
    func `logits equal those of transformers`(model: String) throws {
      let checkpoint = try SyntheticCheckpoint(model)
      #expect(try difference(checkpoint, "--device", "reference") <= Self.tolerance)
      #expect(try difference(checkpoint, "--device", "cpu", "--precision", "f32") <= Self.tolerance)
    }

    @Test(arguments: [["--device", "reference"], ["--device", "cpu", "--precision", "f32"]])
    func `logits of the token after the next equal those of transformers`(
      device: [String]
    ) throws {
      let checkpoint = try SyntheticCheckpoint("v3-hub-mtp")
      let expected = try #require(checkpoint.afterNext)
      let found = try difference(
        checkpoint, from: expected, rows: checkpoint.prompt.count - 1, device + ["--after-next"])
      #expect(found <= Self.tolerance)
    }

    // The configuration of the second names one, but its weights are not there.
    @Test(arguments: ["qwen2", "v3"])
    func `a model without a layer for multi-token prediction says so`(model: String) throws {
      let checkpoint = try SyntheticCheckpoint(model)
      let result = try SilicaCommand.run(
        "logits", "--model", checkpoint.directory, "--tokens", "1,2", "--after-next", "--out",
        "/dev/null")
      #expect(result.status == 1)
      #expect(result.errors.contains("num_nextn_predict_layers"), "\(result.errors)")
    }

    @Test(arguments: ["v3-deep", "qwen2-deep"])
    func `slices change nothing`(model: String) throws {
      let checkpoint = try SyntheticCheckpoint(model)
      for stages in [1, 2, 4, 8] {
        for slices in [1, 2, 8] where stages * slices > 1 {
          let found = try difference(
            checkpoint, "--device", "cpu", "--precision", "f32", "--stages", "\(stages)",
            "--context-slices", "\(slices)", "--prefill-chunk", "9")
          #expect(found <= Self.tolerance, "\(stages) stages, \(slices) context slices")
        }
      }
    }

    @Test func `more stages than layers are cut down, and said`() throws {
      let checkpoint = try SyntheticCheckpoint("v3")
      #expect(try difference(checkpoint, "--precision", "f32", "--stages", "64") <= Self.tolerance)
      let result = try SilicaCommand.run(
        "logits", "--model", checkpoint.directory, "--tokens", "1", "--stages", "64", "--out",
        "/dev/null")
      #expect(result.errors.contains("note: the model has"), "\(result.errors)")
    }
  }
}
