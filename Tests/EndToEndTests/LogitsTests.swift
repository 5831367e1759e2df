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
      let file = try Data(contentsOf: URL(filePath: folder.path("logits.npy")))
      let logits = try #require(NumPyArray(file))
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

    @Test func `a model without a layer for multi-token prediction says so`() throws {
      let checkpoint = try SyntheticCheckpoint("qwen2")
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
      #expect(try difference(checkpoint, "--stages", "64") <= Self.tolerance)
      let result = try SilicaCommand.run(
        "logits", "--model", checkpoint.directory, "--tokens", "1", "--stages", "64", "--out",
        "/dev/null")
      #expect(result.errors.contains("note: the model has"), "\(result.errors)")
    }
  }
}

/// A little-endian f32 array in NumPy's file format, version 1.0.
private struct NumPyArray {
  var shape: [Int]
  var values: [Float]

  init?(_ file: Data) {
    let magic: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0]
    guard file.count > 10, Array(file.prefix(8)) == magic else { return nil }
    let start = 10 + Int(file[8]) + Int(file[9]) << 8
    guard start % 64 == 0, start <= file.count,
      let header = String(data: file[10..<start], encoding: .utf8),
      header.contains("'descr': '<f4'"), header.contains("'fortran_order': False"),
      let match = header.firstMatch(of: /'shape': \(([0-9, ]*)\)/)
    else { return nil }
    shape = match.1.split(separator: ",").compactMap { Int($0.filter(\.isNumber)) }
    values = file[start...].withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
    }
    guard values.count == shape.reduce(1, *) else { return nil }
  }
}
