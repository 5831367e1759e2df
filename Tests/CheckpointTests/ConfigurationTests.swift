// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Support
import TestSupport
import Testing

@Suite struct ConfigurationTests {
  /// The configuration whose file says this besides the least.
  private func configuration(_ members: String = "") throws(CheckpointError) -> ModelConfiguration {
    let config = CheckpointFolder.config.dropLast() + (members.isEmpty ? "}" : ",\(members)}")
    guard let folder = try? CheckpointFolder(config: String(config)) else {
      throw CheckpointError("cannot write the test's folder")
    }
    return try folder.configuration()
  }

  @Test func `both dialects say the same`() throws {
    let yarn = """
      "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
      "original_max_position_embeddings": 4096
      """
    let hub = try configuration(
      #""rope_theta": 50000, "rope_scaling": {"type": "yarn", \#(yarn)}, "torch_dtype": "bfloat16""#
    )
    let transformers = try configuration(
      #""rope_parameters": {"rope_type": "yarn", "rope_theta": 5e4, \#(yarn)}, "dtype": "bfloat16""#
    )
    #expect(hub.rope == transformers.rope && hub.rope.theta == 50_000)
    guard case .yarn(let scaling) = hub.rope.scaling else {
      Issue.record("the rope is \(hub.rope)")
      return
    }
    #expect(scaling.factor == 40 && scaling.mscale == 0.707 && scaling.mscaleAllDim == 0.707)
    #expect(scaling.originalContextLength == 4096 && scaling.truncate)
    #expect(scaling.attentionFactor == nil && scaling.betaFast == 32 && scaling.betaSlow == 1)

    let llama = """
      "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 8192
      """
    let llamaHub = try configuration(
      #""rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", \#(llama)}"#)
    let llamaTransformers = try configuration(
      #""rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, \#(llama)}"#)
    #expect(llamaHub.rope == llamaTransformers.rope)
    guard case .llama3(let scaling) = llamaHub.rope.scaling else {
      Issue.record("the rope is \(llamaHub.rope)")
      return
    }
    #expect(scaling.factor == 8 && scaling.originalContextLength == 8192)
    #expect(scaling.lowFrequencyFactor == 1 && scaling.highFrequencyFactor == 4)
  }

  @Test(arguments: [
    (#""rope_theta": 1e6"#, 1e6), ("", 10_000), (#""rope_scaling": null, "rope_theta": 5"#, 5),
    (#""rope_parameters": {"rope_type": "default", "rope_theta": 7}, "rope_theta": 5"#, 7),
    (#""rope_scaling": {}, "rope_parameters": {"rope_theta": 7}"#, 7),
    (#""rope_scaling": {"type": "linear", "factor": 1.0}"#, 10_000),
    (#""rope_parameters": {"type": "dynamic", "factor": 1}, "partial_rotary_factor": 1.0"#, 10_000),
  ])
  func `plain ropes have their theta`(_ members: String, _ theta: Double) throws {
    let rope = try configuration(members).rope
    #expect(rope.theta == theta && rope.scaling == .none)
  }

  @Test func `a yarn without its own length was made for the whole context`() throws {
    let plain = try configuration(#""rope_scaling": {"type": "yarn", "factor": 4}"#)
    guard case .yarn(let yarn) = plain.rope.scaling else { return #expect(Bool(false)) }
    #expect(yarn.originalContextLength == 64 && yarn.mscale == 0 && yarn.mscaleAllDim == 0)
    let outer = try configuration(
      #"""
      "original_max_position_embeddings": 16, "rope_scaling": {"type": "yarn", "factor": 4,
      "original_max_position_embeddings": 32, "truncate": false, "attention_factor": 1.5}
      """#)
    guard case .yarn(let yarn) = outer.rope.scaling else { return #expect(Bool(false)) }
    #expect(yarn.originalContextLength == 16 && !yarn.truncate && yarn.attentionFactor == 1.5)
  }

  @Test func `token ids, ties, quantisation and marks are read`() throws {
    let configuration = try configuration(
      #"""
      "bos_token_id": 0, "eos_token_id": [1, 2], "tie_word_embeddings": true,
      "silica_untrained": true, "quantization_config": {"quant_method": "fp8", "fmt": "e4m3",
      "activation_scheme": "dynamic", "scale_fmt": "ue8m0", "weight_block_size": [128, 64]}
      """#)
    #expect(configuration.beginTokenID == 0 && configuration.endTokenIDs == [1, 2])
    #expect(configuration.tiesWordEmbeddings && configuration.isUntrained)
    guard case .float8(let blocks) = configuration.quantization else {
      return #expect(Bool(false))
    }
    #expect(blocks.rows == 128 && blocks.columns == 64 && blocks.scalesArePowersOfTwo)
    let plain = try self.configuration(#""bos_token_id": null, "eos_token_id": 7"#)
    #expect(plain.beginTokenID == nil && plain.endTokenIDs == [7] && plain.quantization == nil)
    #expect(!plain.tiesWordEmbeddings && !plain.isUntrained)
  }

  @Test func `fields have types, ranges and defaults`() throws {
    let fields = try configuration(
      #"""
      "a": 3, "b": 4096.0, "c": 0.5, "d": "text", "e": false, "f": null, "g": ["x"], "h": {"i": 1}
      """#
    ).fields
    #expect(try fields.integer("a", 1...) == 3 && fields.integer("b", 1...4096) == 4096)
    #expect(
      try fields.integer("f", 1..., default: 9) == 9 && fields.optionalInteger("f", 1...) == nil)
    #expect(try fields.float("c", above: 0) == 0.5 && fields.float("a", above: 0) == 3)
    #expect(try fields.float("z", above: 0, default: 2) == 2)
    #expect(try fields.string("d") == "text" && fields.string("z", default: "y") == "y")
    #expect(try fields.bool("e", default: true) == false && fields.bool("z", default: true))
    #expect(try fields.strings("g") == ["x"] && fields.strings("z") == [])
    #expect(try fields.fields("h")?.integer("i", 1...) == 1 && fields.fields("z") == nil)
    #expect(fields.has("a") && !fields.has("f") && !fields.has("z"))

    for (read, message) in [
      ({ _ = try fields.integer("a", 4...) }, "a holds 3, expected an integer of at least 4"),
      ({ _ = try fields.integer("a", 1...2) }, "a holds 3, expected an integer from 1 to 2"),
      ({ _ = try fields.integer("f", 1...) }, "f is missing, expected an integer of at least 1"),
      ({ _ = try fields.integer("c", 1...) }, "c holds 0.5, expected an integer"),
      ({ _ = try fields.float("d", above: 0) }, "d holds \"text\", expected a number above 0"),
      ({ _ = try fields.float("z", above: 0) }, "z is missing, expected a number above 0"),
      ({ _ = try fields.bool("a", default: true) }, "a holds 3, expected true or false"),
      ({ _ = try fields.string("a") }, "a holds 3, expected a string"),
      ({ _ = try fields.strings("d") }, "d holds \"text\", expected a list of strings"),
      ({ _ = try fields.fields("h")?.string("i") }, "h.i holds 1, expected a string"),
    ] as [(() throws -> Void, String)] {
      let error = #expect(throws: CheckpointError.self) { try read() }
      #expect(error?.message.contains("config.json: \(message)") == true, "\(error?.message ?? "")")
    }
  }

  @Test(arguments: [
    (#""vocab_size_": 1"#, nil), (#""architectures": []"#, "is there twice"),
    (#""eos_token_id": "x""#, "eos_token_id holds \"x\""),
    (#""eos_token_id": -1"#, "eos_token_id holds -1"),
    (#""eos_token_id": 99999999999999999999"#, "eos_token_id holds 1e+20"),
    (#""tie_word_embeddings": 1"#, "tie_word_embeddings holds 1, expected true or false"),
    (#""rope_theta": 0"#, "rope_theta holds 0, expected a number above 1"),
    (#""rope_theta": 1e300"#, "rope_theta holds 1e+300"),
    (#""rope_theta": NaN"#, "not valid JSON"), (#""rope_theta": Infinity"#, "not valid JSON"),
    (#""rope_scaling": "yarn""#, "rope_scaling holds \"yarn\", expected an object"),
    (#""rope_scaling": {"type": "yarn"}"#, "rope_scaling.factor is missing"),
    (#""rope_scaling": {"type": "yarn", "factor": 0}"#, "rope_scaling.factor holds 0"),
    (
      #""rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 2}"#,
      "rope_scaling.beta_fast holds 1, expected at least beta_slow"
    ),
    (
      #"""
      "rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 4,
      "high_freq_factor": 4}
      """#,
      "high_freq_factor holds 4, expected more than low_freq_factor"
    ),
    (#""rope_scaling": {"type": "linear", "factor": 2}"#, "rope_scaling.type holds \"linear\""),
    (#""rope_scaling": {"rope_type": "dynamic", "factor": 2}"#, "rope_type holds \"dynamic\""),
    (#""rope_scaling": {"rope_type": "longrope"}"#, "rope_type holds \"longrope\", expected \"def"),
    (#""partial_rotary_factor": 0.5"#, "partial_rotary_factor holds 0.5, expected 1"),
    (
      #""quantization_config": {"quant_method": "aqlm", "bits": 4}"#,
      "quantization_config.quant_method holds \"aqlm\", expected one of \"fp8\", \"compressed-ten"
    ),
    (#""quantization_config": {"bits": 4}"#, "quantization_config.quant_method is missing"),
    (
      #""quantization_config": {"quant_method": "silica", "version": "2"}"#,
      "version holds \"2\", expected \"1\": quantize the checkpoint again"
    ),
    (
      #""quantization_config": {"quant_method": "silica", "version": "1", "layout": "rows"}"#,
      "layout holds \"rows\", expected \"panels-16\""
    ),
    (
      #"""
      "quantization_config": {"quant_method": "silica", "version": "1", "layout": "panels-16",
      "precision": "w3", "source": "0"}
      """#, "precision holds \"w3\", expected \"w8\", \"w4\" or \"auto\""
    ),
    (
      #""quantization_config": {"quant_method": "fp8", "weight_block_size": null}"#,
      "weight_block_size is missing"
    ),
    (
      #""quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 0]}"#,
      "weight_block_size holds [128,0]"
    ),
    (
      #""quantization_config": {"quant_method": "fp8", "fmt": "e5m2"}"#,
      "fmt holds \"e5m2\""
    ),
  ])
  func `nonsense is refused with key, value and expectation`(
    _ members: String, _ reason: String?
  ) throws {
    guard let reason else {
      _ = try configuration(members)
      return
    }
    let error = #expect(throws: CheckpointError.self) { try configuration(members) }
    let message = error?.message ?? ""
    #expect(message.contains(reason) && message.contains("config.json"), "\(message)")
  }

  @Test func `what every model needs must be there`() throws {
    for (config, reason) in [
      ("[]", "holds an array, expected an object"),
      ("{}", "architectures is missing, expected a list"),
      (#"{"architectures": [], "vocab_size": 1}"#, "architectures holds []"),
      (#"{"architectures": ["X"]}"#, "vocab_size is missing"),
      (#"{"architectures": ["X"], "vocab_size": 0}"#, "vocab_size holds 0"),
      (#"{"architectures": ["X"], "vocab_size": 1}"#, "max_position_embeddings is missing"),
      (
        #"{"architectures": ["X"], "vocab_size": 4611686018427387904}"#,
        "vocab_size holds 4611686018427387904"
      ),
    ] {
      let folder = try CheckpointFolder(config: config)
      let error = #expect(throws: CheckpointError.self) {
        try folder.configuration()
      }
      #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }
  }

  @Test func `changed configurations are read or refused with the file's name`() throws {
    let original = Array(
      #"""
      {"architectures":["DeepseekV3ForCausalLM"],"bos_token_id":0,"eos_token_id":[1],
      "max_position_embeddings":4096,"rope_scaling":{"beta_fast":32,"beta_slow":1,"factor":4,
      "mscale":1.0,"original_max_position_embeddings":1024,"type":"yarn"},"rope_theta":10000,
      "quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]},"vocab_size":16}
      """#.utf8)
    let folder = try CheckpointFolder()
    let path = folder.directory.path("config.json")
    var generator = SeededGenerator(seed: 13)
    var readCount = 0
    for _ in 0..<6000 {
      try folder.write(
        "config.json", Mutation.mutated(original, upTo: original.count, using: &generator))
      do throws(CheckpointError) {
        _ = try folder.configuration()
        readCount += 1
      } catch {
        #expect(error.message.contains(path))
      }
    }
    #expect(readCount > 300, "only \(readCount) were read: the mutations are too coarse")
  }
}
