// SPDX-License-Identifier: Apache-2.0

import Support
import TestSupport
import Testing

extension EndToEnd {
  /// The command as scripts rely on it: help, exit codes, one line for each error.
  @Suite struct CommandTests {
    @Test func `the help lists the subcommands, and each has help of its own`() throws {
      let help = try SilicaCommand.run("--help")
      #expect(help.status == 0 && help.errors.isEmpty)
      let names = help.output.split(separator: "\n").filter { $0.hasPrefix("  ") }
        .compactMap { $0.split(separator: " ").first.map(String.init) }
      let known = [
        "serve", "chat", "generate", "logits", "tokenize", "bench", "quantize", "verify", "profile",
        "plan",
        "topology",
      ]
      for name in known { #expect(names.contains(name)) }
      for name in names where name != "silica" {
        let page = try SilicaCommand.run(name, "--help")
        #expect(page.status == 0 && page.errors.isEmpty, "\(name)")
        #expect(page.output.contains("usage: silica \(name)"), "\(page.output)")
      }
    }

    @Test func `the version is a word and a number`() throws {
      let result = try SilicaCommand.run("--version")
      #expect(result.status == 0)
      #expect(result.output.wholeMatch(of: /silica \d+\.\d+\.\d+\n/) != nil)
    }

    /// What is called, and what the message must say.
    private static let wrongUsage: [([String], String)] = [
      (["chew"], "'chew'"),
      (["serve"], "--model is required"),
      (["serve", "--model"], "--model needs a value"),
      (["serve", "--model", "a", "--model", "b"], "--model is given twice"),
      (["serve", "--model", "a", "b"], "unexpected argument 'b'"),
      (["serve", "--stage", "2"], "did you mean --stages"),
      (["serve", "--model", "a", "--stages", "0"], "--stages is '0'"),
      (["serve", "--model", "a", "--context-slices", "two"], "--context-slices is 'two'"),
      (["serve", "--model", "a", "--max-batch", "-1"], "--max-batch is '-1'"),
      (["serve", "--model", "a", "--kv-memory", "much"], "--kv-memory is 'much'"),
      (["serve", "--model", "a", "--device", "abacus"], "--device is 'abacus'"),
      (["serve", "--model", "a", "--precision", "f12"], "--precision is 'f12'"),
      (["serve", "--model", "a", "--precision", "w8a8"], "on a CPU w8 multiplies with 8-bit"),
      (["serve", "--model", "a", "--precision", "fp8a8"], "already, and fp8 with FP8 ones"),
      (
        ["serve", "--model", "a", "--device", "reference", "--precision", "w8a8"],
        "the reference device runs f32"
      ),
      (
        ["serve", "--model", "a", "--device", "cuda", "--precision", "f32"],
        "a CUDA device runs auto, bf16, fp8, w8, w4, w8a8, sparse, fp8a8"
      ),
      (["serve", "--model", "a", "--kv-precision", "w8"], "--kv-precision is 'w8'"),
      (
        ["serve", "--model", "a", "--device", "cuda", "--kv-precision", "f32"],
        "GPUs keep keys and values in bf16 or fp8"
      ),
      (["serve", "--model", "a", "--kv-precision", "fp8"], "CPUs keep keys and values in f32 or"),
      (
        ["serve", "--model", "a", "--device", "reference", "--kv-precision", "bf16"],
        "the reference device keeps keys and values in f32"
      ),
      (["verify", "--kv-precision", "fp8"], "--kv-precision goes with --device cuda:N"),
      (["verify", "--device", "cuda", "--kv-precision", "w8"], "--kv-precision holds 'w8'"),
      (["profile", "--model", "a", "--kv-precision", "f32"], "GPUs keep keys and values in bf16"),
      (["serve", "--model", "a", "--mla-prefill", "both"], "--mla-prefill is 'both'"),
      (["serve", "--model", "a", "--mla-prefill", "expanded"], "is for --device cuda"),
      (
        ["serve", "--model", "a", "--device", "cuda", "--mla-prefill", "expanded"]
          + ["--context-slices", "2"],
        "--mla-prefill expanded does not go with --context-slices"
      ),
      (
        ["serve", "--model", "synthetic", "--mla-prefill", "expanded"],
        "--mla-prefill does not go with --model synthetic"
      ),
      (["serve", "--model", "a", "--listen", "nowhere"], "'nowhere'"),
      (["serve", "--model", "a", "--listen", "localhost:65536"], "'localhost:65536'"),
      (["generate", "--model", "a"], "--prompt"),
      (["generate", "--prompt", "a"], "--target or --model"),
      (["generate", "--target", "a:1", "--model", "a", "--prompt", "a"], "not both"),
      (["generate", "--target", "a", "--prompt", "a"], "'a'"),
      (
        ["generate", "--target", "a:1", "--prompt", "a", "--max-tokens", "0"], "--max-tokens is '0'"
      ),
      (["generate", "--target", "a:1", "--prompt", "a", "--top-p", "most"], "--top-p is 'most'"),
      (["logits", "--model", "a", "--out", "b"], "--tokens is required"),
      (["logits", "--model", "a", "--tokens", "1"], "--out is required"),
      (["logits", "--model", "a", "--out", "b", "--tokens", "1,x"], "--tokens holds 'x'"),
      (["logits", "--model", "a", "--out", "b", "--tokens", ""], "--tokens holds ''"),
      (["tokenize", "--model", "a"], "--text, --file and --decode"),
      (
        ["tokenize", "--model", "a", "--text", "a", "--decode", "1"], "--text, --file and --decode"
      ),
      (["tokenize", "--model", "a", "--decode", "-1"], "--decode holds '-1'"),
      (["quantize", "--model", "a", "--out", "b"], "--precision is required"),
      (["quantize", "--model", "a", "--precision", "w8"], "--out is required"),
      (
        ["quantize", "--model", "a", "--out", "b", "--precision", "f32"], "expected w8, w4 or auto"
      ),
      (["plan", "--model", "a", "--format", "xml"], "--format is 'xml'"),
      (["plan", "--model", "a", "--bandwidth", "0"], "--bandwidth"),
      (["topology", "--format=yaml"], "--format is 'yaml'"),
    ]

    @Test(arguments: wrongUsage)
    func `wrong usage exits with 2 and says what is wrong`(
      arguments: [String], problem: String
    ) throws {
      let result = try SilicaCommand.run(arguments)
      #expect(result.status == 2)
      #expect(result.output.isEmpty)
      #expect(result.errorLines.count == 1, "\(result.errors)")
      #expect(result.errors.contains(problem), "\(result.errors)")
      #expect(result.errors.contains("--help'"), "\(result.errors)")
    }

    @Test func `nothing at all is wrong usage, and shows the help`() throws {
      let result = try SilicaCommand.run()
      #expect(result.status == 2)
      #expect(result.errors.contains("usage: silica SUBCOMMAND"))
    }

    @Test func `a server that is not there is a failure`() throws {
      let result = try SilicaCommand.run(
        "generate", "--target", "127.0.0.1:1", "--prompt", "a", "--max-tokens", "1")
      #expect(result.status == 1)
      #expect(result.errorLines.count == 1, "\(result.errors)")
      #expect(result.errors.contains("127.0.0.1:1"))
    }

    @Test func `topology is a table or JSON`() throws {
      let table = try SilicaCommand.run("topology")
      #expect(table.status == 0)
      #expect(table.output.hasPrefix("node"))
      let result = try SilicaCommand.run("topology", "--format", "json")
      #expect(result.status == 0)
      let topology = try #require(try result.json.objectValue)
      #expect(topology["nodes"]?.arrayValue?.isEmpty == false)
      #expect(topology["cores"]?.arrayValue?.isEmpty == false)
    }

    @Test func `bench prints a JSON line for each batch size`() throws {
      let result = try SilicaCommand.run(
        "bench", "--model", TestModel.tiny, "--batch", "1,3", "--prompt", "16", "--generate", "4")
      #expect(result.status == 0, "\(result.errors)")
      let lines = try result.output.split(separator: "\n").map { line in
        try #require(try Array(line.utf8).withUnsafeBytes { try JSON(parsing: $0) }.objectValue)
      }
      #expect(lines.map { $0["batch"]?.integerValue } == [1, 3])
      let fields = [
        "prefill_tokens_per_s", "decode_tokens_per_s", "step_ms_p50", "weight_bytes_per_step",
        "fraction_of_memory_bandwidth",
      ]
      for line in lines {
        for field in fields { #expect(line[field]?.numberValue ?? 0 > 0, "\(field)") }
      }
    }

    @Test func `a plan gives every layer to one stage`() throws {
      let checkpoint = try SyntheticCheckpoint("v3-deep")
      let model = checkpoint.directory
      let result = try SilicaCommand.run(
        "plan", "--model", model, "--stages", "3", "--context-slices", "2", "--format", "json")
      #expect(result.status == 0)
      let slices = try #require(try result.json.arrayValue).compactMap(\.objectValue)
      #expect(slices.count == 6)
      var next = 0
      for slice in slices where slice["context_slice"]?.integerValue == 0 {
        #expect(slice["first_layer"]?.integerValue == next)
        next += try #require(slice["layer_count"]?.integerValue)
      }
      #expect(next == 8)
      let table = try SilicaCommand.run("plan", "--model", model, "--stages", "3")
      #expect(table.output.split(separator: "\n").count == 4, "a header and three stages")
    }
  }
}
