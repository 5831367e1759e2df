// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Support
import TestSupport
import Testing
import Wire

extension EndToEnd {
  /// `--model synthetic`: the whole server without a checkpoint.
  @Suite(.serialized) struct SyntheticModelTests {
    @Test func `it says what it is, and clients use it as any model`() throws {
      try RunningServer.with(model: "synthetic", ["--token-bytes", "7"]) { server in
        #expect(server.errors.contains("its text means nothing"))
        let model = try InferenceClient(server).model()
        #expect(model.name == "synthetic" && model.architecture == "Synthetic")
        #expect(model.device.hasPrefix("synthetic (tokens of 7 bytes"))
        #expect(model.contextLength == 4_096 && model.eosTokenIds.isEmpty)
        let options = ["generate", "--target", server.target, "--max-tokens", "12"]
        let text = try SilicaCommand.run(options + ["--prompt", "Grüße 世界\n"])
        #expect(text.status == 0, "\(text.errors)")
        #expect(text.output.utf8.count == 12 * 7 + 1)
        let again = try SilicaCommand.run(options + ["--prompt", "Grüße 世界\n"])
        #expect(again.output == text.output)
        let chat = try SilicaCommand.run(options + ["--chat", "Hello", "--usage"])
        #expect(chat.status == 0 && chat.errors.contains("12 generated"), "\(chat.errors)")
        #expect(chat.output != text.output)
      }
    }

    @Test func `neither load nor a full cache changes an answer`() throws {
      let options = ["--max-batch", "64", "--kv-memory", "32K"]
      try RunningServer.with(model: "synthetic", options) { server in
        let client = InferenceClient(server)
        let alone = try client.greedy([1, 2, 3], count: 64)
        let session = try client.session()
        for generation in 1...UInt32(100) {
          try session.start(
            generation, .greedy([1, 2, 3, Int32(generation % 4)], count: 64))
        }
        try session.sendEnd()
        let answers = try session.receiveAll()
        #expect(answers.count == 100 && Set(answers.values).count == 4)
        #expect(answers.values.allSatisfy { $0.count == 64 })
        #expect(try client.greedy([1, 2, 3], count: 64) == alone)
      }
    }

    @Test(arguments: ["sleep", "spin"])
    func `the rate is kept by each generation`(wait: String) throws {
      let options = ["--token-rate", "200", "--prefill-rate", "10000", "--step-wait", wait]
      try RunningServer.with(model: "synthetic", options) { server in
        let session = try InferenceClient(server).session()
        let start = Clock.nowNanoseconds
        for generation in 1...UInt32(16) {
          try session.start(generation, .greedy([7], count: 100))
        }
        try session.sendEnd()
        #expect(try session.receiveAll().count == 16)
        let seconds = Double(Clock.nowNanoseconds - start) / 1e9
        #expect(seconds > 0.49, "100 tokens at 200/s in \(seconds) s")
        #expect(seconds < 2, "100 tokens at 200/s in \(seconds) s")
      }
    }

    @Test func `bench measures the engine alone`() throws {
      let result = try SilicaCommand.run(
        "bench", "--model", "synthetic", "--token-rate", "1000", "--batch", "8", "--generate", "50")
      #expect(result.status == 0, "\(result.errors)")
      let rate = try #require(try result.json.objectValue?["decode_tokens_per_s"]?.numberValue)
      #expect(rate > 2_000 && rate < 8_400, "8 sequences of 1,000 tokens/s: \(rate)")
    }

    /// Prompts of several steps: the first sequences decode while others' prompts are read.
    @Test func `bench counts decoding while all sequences run`() throws {
      func bench(generate: String) throws -> Command.Result {
        try SilicaCommand.run(
          "bench", "--model", "synthetic", "--token-rate", "200", "--batch", "8", "--prompt", "600",
          "--generate", generate)
      }
      let result = try bench(generate: "40")
      #expect(result.status == 0, "\(result.errors)")
      let rate = try #require(try result.json.objectValue?["decode_tokens_per_s"]?.numberValue)
      #expect(rate > 400 && rate < 1_680, "8 sequences of 200 tokens/s: \(rate)")
      let short = try bench(generate: "8")
      #expect(short.status == 2)
      #expect(short.errors.contains("expected --generate above 8"), "\(short.errors)")
    }

    /// What is called, and what the message must say.
    private static let wrongUsage: [([String], String)] = [
      (["--model", "a", "--token-rate", "5"], "--token-rate goes with --model synthetic"),
      (["--model", "a", "--token-bytes", "5"], "--token-bytes goes with"),
      (["--model", "a", "--prefill-rate", "5"], "--prefill-rate goes with"),
      (["--model", "synthetic", "--token-rate", "0"], "--token-rate is '0'"),
      (["--model", "synthetic", "--token-rate", "fast"], "--token-rate is 'fast'"),
      (["--model", "synthetic", "--token-bytes", "0"], "--token-bytes is '0'"),
      (["--model", "synthetic", "--step-wait", "long"], "--step-wait is 'long'; expected"),
      (["--model", "synthetic", "--prefill-rate", "-1"], "--prefill-rate is '-1'"),
      (["--model", "synthetic", "--device", "cpu"], "--device does not go"),
      (["--model", "synthetic", "--stages", "2"], "--stages is '2'"),
      (["--model", "synthetic", "--context-slices", "2"], "--context-slices is '2'"),
      (["--model", "synthetic", "--max-waiting", "0"], "--max-waiting is '0'"),
    ]

    @Test(arguments: wrongUsage)
    func `wrong usage exits with 2 and says what is wrong`(
      options: [String], problem: String
    ) throws {
      let result = try SilicaCommand.run(["serve"] + options)
      #expect(result.status == 2)
      #expect(result.errorLines.count == 1 && result.errors.contains(problem), "\(result.errors)")
    }
  }
}
