// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing

extension EndToEnd {
  /// `silica quantize`, and what loads its folder.
  @Suite struct QuantizeTests {
    private func quantize(
      _ model: String, _ out: String, precision: String = "w8"
    ) throws -> Command.Result {
      try SilicaCommand.run(
        "quantize", "--model", model, "--precision", precision, "--out", out)
    }

    /// A packed copy of the bundled model, to be damaged.
    private func packed(in folder: TemporaryDirectory, _ precision: String = "w8") throws -> String
    {
      let out = folder.path("packed-\(precision)")
      let result = try quantize(TestModel.tiny, out, precision: precision)
      try #require(result.status == 0, "\(result.errors)")
      #expect(result.output.hasPrefix("silica: packed DeepseekV3ForCausalLM as \(precision)"))
      return out
    }

    private func expectRefusal(
      _ result: Command.Result, _ words: String..., location: SourceLocation = #_sourceLocation
    ) {
      #expect(result.status == 1, sourceLocation: location)
      #expect(result.errorLines.count == 1, "\(result.errors)", sourceLocation: location)
      for word in words {
        #expect(result.errors.contains(word), "\(result.errors)", sourceLocation: location)
      }
    }

    private func logits(_ model: String, _ options: String...) throws -> Command.Result {
      try SilicaCommand.run(["logits", "--model", model, "--tokens", "5,6,7"] + options)
    }

    @Test(arguments: ["w8", "w4"])
    func `a packed model gives the bits of converting at load`(precision: String) throws {
      let folder = try TemporaryDirectory()
      let out = try packed(in: folder, precision)
      let files = [folder.path("loaded.npy"), folder.path("packed.npy"), folder.path("cut.npy")]
      _ = try logits(TestModel.tiny, "--precision", precision, "--out", files[0])
      #expect(try logits(out, "--out", files[1]).status == 0)
      #expect(
        try logits(out, "--out", files[2], "--precision", precision, "--stages", "2").status == 0)
      let bytes = try files.map { try Data(contentsOf: URL(filePath: $0)) }
      #expect(bytes[0].count > 3 * 4096 && bytes[0] == bytes[1] && bytes[0] == bytes[2])

      let generated = try [[TestModel.tiny, "--precision", precision], [out]].map {
        try SilicaCommand.run(
          ["generate", "--prompt", "The", "--max-tokens", "8", "--temperature", "0", "--model"] + $0
        )
      }
      #expect(generated[0].output == generated[1].output && generated[1].status == 0)
      let bench = try SilicaCommand.run(
        "bench", "--model", out, "--batch", "1", "--prompt", "4", "--generate", "2")
      let device = try bench.json["device"]?.stringValue ?? ""
      #expect(device.hasSuffix("\(precision))"), "\(device)")
      #expect(try bench.json["load_s"]?.numberValue ?? 60 < 2)
    }

    @Test func `what exists is not written over`() throws {
      let folder = try TemporaryDirectory()
      let out = try packed(in: folder)
      expectRefusal(try quantize(TestModel.tiny, out), out, "exists already")
      expectRefusal(try quantize(out, folder.path("again")), out, "packed already, as w8")
      try FileManager.default.createDirectory(
        atPath: folder.path("empty"), withIntermediateDirectories: false)
      #expect(try quantize(TestModel.tiny, folder.path("empty") + "/").status == 0)
      try FileManager.default.createDirectory(
        atPath: folder.path("new.partial"), withIntermediateDirectories: false)
      expectRefusal(
        try quantize(TestModel.tiny, folder.path("new")), "new.partial", "interrupted run")
    }

    @Test func `a disk that is full is said, and nothing stays of it`() throws {
      let folder = try TemporaryDirectory()
      // A limit on the size of files stands for the disk; its signal is left out.
      let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""
      let result = try Command.run(
        "/bin/bash",
        ["-c", script, try SilicaCommand.path(), "quantize", "--model", TestModel.tiny]
          + ["--precision", "w8", "--out", folder.path("packed")])
      expectRefusal(result, "packed.partial/model.safetensors", "File too large")
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
      expectRefusal(try quantize(TestModel.tiny, "/nowhere/packed"), "/nowhere/packed.partial")
    }

    @Test func `files that do not belong to each other are refused`() throws {
      let folder = try TemporaryDirectory()
      let (eight, four) = (try packed(in: folder), try packed(in: folder, "w4"))
      let other = try SyntheticCheckpoint("v3")
      let foreign = folder.path("foreign")
      #expect(try quantize(other.directory, foreign).status == 0)
      func replace(_ file: String, of directory: String, by source: String) throws {
        try FileManager.default.removeItem(atPath: "\(directory)/\(file)")
        try FileManager.default.copyItem(atPath: source, toPath: "\(directory)/\(file)")
      }
      expectRefusal(try logits(four, "--precision", "w8", "--out", "/dev/null"), "packed as w4")
      let weights = "model.safetensors"
      let kept = folder.path("kept")
      try FileManager.default.copyItem(atPath: "\(eight)/config.json", toPath: kept)
      try replace("config.json", of: eight, by: "\(TestModel.tiny)/config.json")
      expectRefusal(
        try logits(eight, "--out", "/dev/null"), weights, "was packed by silica", "again")
      try replace("config.json", of: eight, by: kept)
      try replace(weights, of: eight, by: "\(four)/\(weights)")
      expectRefusal(try logits(eight, "--out", "/dev/null"), "precision is \"w4\"", "\"w8\"")
      try replace(weights, of: eight, by: "\(foreign)/\(weights)")
      expectRefusal(try logits(eight, "--out", "/dev/null"), "source is", "belong to each other")
      try replace(weights, of: eight, by: "\(other.directory)/\(weights)")
      expectRefusal(try logits(eight, "--out", "/dev/null"), weights, "no packed file of silica")
    }

    @Test func `a damaged file is named`() throws {
      let folder = try TemporaryDirectory()
      let out = try packed(in: folder)
      let url = URL(filePath: "\(out)/model.safetensors")
      let whole = try Data(contentsOf: url)
      for length in [0, 100, 5_000, whole.count - 1] {
        try whole.prefix(length).write(to: url)
        expectRefusal(try logits(out, "--out", "/dev/null"), "\(out)/model.safetensors")
      }
      let json = try String(contentsOf: URL(filePath: "\(out)/config.json"), encoding: .utf8)
      try whole.write(to: url)
      try json.replacing("\"hidden_size\":128", with: "\"hidden_size\":160")
        .write(to: URL(filePath: "\(out)/config.json"), atomically: true, encoding: .utf8)
      expectRefusal(try logits(out, "--out", "/dev/null"), "expected")
    }
  }
}
