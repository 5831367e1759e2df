// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

extension EndToEnd {
  /// What the command says of a checkpoint that it cannot run: one line that names the file, what
  /// it holds and what was expected, and exit code 1.
  @Suite struct BadCheckpointTests {
    /// Expects `silica logits` to refuse the folder with one line that holds all `words`.
    private func expectRefusal(
      of directory: String, _ words: [String], by subcommand: String = "logits",
      sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
      let options =
        subcommand == "serve"
        ? ["--listen", "127.0.0.1:0"] : ["--tokens", "1,2", "--out", "/dev/null"]
      let result = try SilicaCommand.run([subcommand, "--model", directory] + options)
      #expect(result.status == 1, sourceLocation: sourceLocation)
      #expect(result.output.isEmpty, "\(result.output)", sourceLocation: sourceLocation)
      #expect(result.errorLines.count == 1, "\(result.errors)", sourceLocation: sourceLocation)
      #expect(
        result.errors.hasPrefix("silica \(subcommand): "), "\(result.errors)",
        sourceLocation: sourceLocation)
      for word in words {
        #expect(result.errors.contains(word), "\(result.errors)", sourceLocation: sourceLocation)
      }
    }

    @Test func `a folder that is not there is named`() throws {
      try expectRefusal(of: "/nowhere/at-all", ["/nowhere/at-all"])
      try expectRefusal(of: "/nowhere/at-all", ["/nowhere/at-all"], by: "serve")
      let plan = try SilicaCommand.run("plan", "--model", "/nowhere/at-all")
      #expect(plan.status == 1 && plan.errors.contains("/nowhere/at-all"), "\(plan.errors)")
      let tokenize = try SilicaCommand.run("tokenize", "--model", "/nowhere/at-all", "--text", "a")
      #expect(tokenize.status == 1 && tokenize.errors.contains("/nowhere/at-all"))
    }

    @Test func `config.json must be there and be right`() throws {
      let copy = try CheckpointCopy()
      try copy.change("config.json") { $0["hidden_size"] = "large" }
      try expectRefusal(of: copy.directory, ["config.json", "hidden_size", "large"])
      try copy.change("config.json") { $0["hidden_size"] = nil }
      try expectRefusal(of: copy.directory, ["config.json", "hidden_size"])
      try copy.write("{\"hidden_size\": ", to: "config.json")
      try expectRefusal(of: copy.directory, ["config.json"])
      try copy.remove("config.json")
      try expectRefusal(of: copy.directory, ["config.json"])
    }

    @Test func `an unknown architecture is named beside the known ones`() throws {
      let copy = try CheckpointCopy()
      try copy.change("config.json") {
        $0["architectures"] = ["AbacusForCausalLM"]
        $0["model_type"] = "abacus"
      }
      try expectRefusal(
        of: copy.directory, ["config.json", "AbacusForCausalLM", "DeepseekV3ForCausalLM"])
    }

    @Test func `a missing shard is named`() throws {
      let copy = try CheckpointCopy()
      try copy.remove(CheckpointCopy.shards[1])
      try expectRefusal(of: copy.directory, [CheckpointCopy.shards[1]])
      try expectRefusal(of: copy.directory, [CheckpointCopy.shards[1]], by: "serve")
    }

    @Test func `a folder without weights is refused`() throws {
      let copy = try CheckpointCopy()
      for file in CheckpointCopy.shards { try copy.remove(file) }
      try copy.remove("model.safetensors.index.json")
      try expectRefusal(of: copy.directory, ["safetensors"])
    }

    @Test(arguments: [0, 7, 8, 100, 50_000])
    func `a truncated shard is named`(length: Int) throws {
      let copy = try CheckpointCopy()
      try copy.cut(CheckpointCopy.shards[0], to: length)
      try expectRefusal(of: copy.directory, [CheckpointCopy.shards[0]])
    }

    @Test(arguments: [0, 3, 1 << 40, .max])
    func `a header with an impossible length is named`(length: Int) throws {
      let copy = try CheckpointCopy()
      try copy.claimHeaderLength(CheckpointCopy.shards[0], length)
      try expectRefusal(of: copy.directory, [CheckpointCopy.shards[0]])
    }

    @Test func `tensors that overlap or lie outside the file are named`() throws {
      let name = "model.embed_tokens.weight"
      let shard = CheckpointCopy.shards[0]
      for offsets in [[64, 262_144 + 64], [1 << 40, (1 << 40) + 262_144], [262_144, 0]] {
        let copy = try CheckpointCopy()
        try copy.changeHeader(shard) { header in
          var entry = header[name] as? [String: Any] ?? [:]
          entry["data_offsets"] = offsets
          header[name] = entry
        }
        try expectRefusal(of: copy.directory, [shard])
      }
    }

    @Test func `a tensor of wrong shape is named with both shapes`() throws {
      let copy = try CheckpointCopy()
      try copy.change("config.json") { $0["moe_intermediate_size"] = 48 }
      try expectRefusal(of: copy.directory, [".mlp.", "48", "32"])
    }

    @Test func `a missing tensor is named`() throws {
      let copy = try CheckpointCopy()
      try copy.change("config.json") { $0["num_hidden_layers"] = 5 }
      try expectRefusal(of: copy.directory, ["model.layers.4."])
    }

    @Test func `a server needs tokenizer.json; logits do not`() throws {
      let copy = try CheckpointCopy()
      try copy.remove("tokenizer.json")
      try expectRefusal(of: copy.directory, ["tokenizer.json"], by: "serve")
      let logits = try SilicaCommand.run(
        "logits", "--model", copy.directory, "--tokens", "1,2", "--out", "/dev/null")
      #expect(logits.status == 0, "\(logits.errors)")
      try copy.write("{\"model\": {\"type\": \"WordPiece\"}}", to: "tokenizer.json")
      try expectRefusal(of: copy.directory, ["tokenizer.json", "byte-level BPE"], by: "serve")
    }

    @Test func `what is asked of a good checkpoint is checked as well`() throws {
      let outside = try SilicaCommand.run(
        "logits", "--model", TestModel.tiny, "--tokens", "1,1024", "--out", "/dev/null")
      #expect(outside.status == 1)
      #expect(outside.errors.contains("1024") && outside.errors.contains("1023"))
      let unwritable = try SilicaCommand.run(
        "logits", "--model", TestModel.tiny, "--tokens", "1", "--out", "/nowhere/logits.npy")
      #expect(unwritable.status == 1)
      #expect(unwritable.errors.contains("/nowhere/logits.npy"))
      let memory = try SilicaCommand.run(
        "serve", "--model", TestModel.tiny, "--listen", "127.0.0.1:0", "--kv-memory", "1K")
      #expect(memory.status == 1)
      #expect(memory.errors.contains("kv_memory is 1024"), "\(memory.errors)")
    }

    @Test func `a port in use is named`() throws {
      try RunningServer.with(model: TestModel.tiny) { server in
        let result = try SilicaCommand.run(
          "serve", "--model", TestModel.tiny, "--listen", server.target)
        #expect(result.status == 1)
        #expect(result.errors.contains(server.target), "\(result.errors)")
      }
    }
  }
}
