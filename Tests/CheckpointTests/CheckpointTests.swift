// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Foundation
import Program
import Support
import TestSupport
import Testing

@Suite struct CheckpointTests {
  private static let index = "model.safetensors.index.json"

  /// Two shards: "a" (2 floats) in the first, "b" (3) and "c" (1) in the second.
  private func sharded(index: String? = nil) throws -> CheckpointFolder {
    let folder = try CheckpointFolder()
    try folder.write(
      "one.safetensors",
      CheckpointFolder.safetensors(CheckpointFolder.header(["a": 2]), dataByteCount: 8))
    try folder.write(
      "two.safetensors",
      CheckpointFolder.safetensors(CheckpointFolder.header(["b": 3, "c": 1]), dataByteCount: 16))
    try folder.write(
      Self.index,
      index ?? """
        {"metadata": {"total_size": 24},
         "weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}}
        """)
    return folder
  }

  private func expectFailure(
    _ open: @autoclosure () throws -> Checkpoint, _ code: ErrorCode, _ parts: String...,
    location: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: CheckpointError.self, sourceLocation: location) { try open() }
    #expect(error?.code == code, sourceLocation: location)
    for part in parts {
      let message = error?.message ?? ""
      #expect(message.contains(part), "\(message)", sourceLocation: location)
    }
  }

  @Test func `a checkpoint has another identity once one of its files was written`() throws {
    let folder = try sharded()
    func identity() throws -> String { try Checkpoint(directory: folder.path).identity }
    let first = try identity()
    #expect(try identity() == first)
    let time = [FileAttributeKey.modificationDate: Date(timeIntervalSince1970: 1e9)]
    try FileManager.default.setAttributes(time, ofItemAtPath: "\(folder.path)/one.safetensors")
    let later = try identity()
    #expect(later != first)
    #expect(later.split(separator: " ").first == first.split(separator: " ").first)
    try FileManager.default.setAttributes(time, ofItemAtPath: "\(folder.path)/two.safetensors")
    #expect(try identity() != later)
  }

  @Test func `the bundled model opens, with every tensor and what its files say`() throws {
    let checkpoint = try Checkpoint(directory: Repository.path("Models/tiny-deepseek-v3"))
    let configuration = checkpoint.configuration
    #expect(configuration.architecture == "DeepseekV3ForCausalLM" && configuration.isUntrained)
    #expect(configuration.vocabularySize == 1024 && configuration.contextLength == 4096)
    #expect(configuration.beginTokenID == 0 && checkpoint.endTokenIDs == [1])
    #expect(configuration.quantization == nil && !configuration.tiesWordEmbeddings)
    #expect(checkpoint.generationDefaults.temperature == 0.6)
    #expect(checkpoint.generationDefaults.topP == 0.95)
    guard case .yarn(let yarn) = configuration.rope.scaling else {
      Issue.record("the rope is \(configuration.rope)")
      return
    }
    #expect(yarn.factor == 4 && yarn.originalContextLength == 1024 && yarn.mscale == 1)

    let embedding = try checkpoint.tensor(Weight("model.embed_tokens.weight", [1024, 128]))
    #expect(embedding.type == .bfloat16)
    let values = embedding.dequantized()
    let deviation = (values.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot()
    #expect(abs(deviation - 0.5) < 0.01)
    let bias = Weight("model.layers.3.mlp.gate.e_score_correction_bias", [8])
    #expect(try checkpoint.tensor(bias).sharedFloat32?.count == 8, "aligned, so not copied")
    #expect(checkpoint.contains("lm_head.weight") && !checkpoint.contains("lm_head.bias"))
  }

  @Test func `shards are read through their index`() throws {
    let checkpoint = try sharded().open()
    #expect(checkpoint.byteCount == 24)
    #expect(try checkpoint.tensor(Weight("a", [2])).bytesCopied == Array(0..<8))
    #expect(try checkpoint.tensor(Weight("c", [1])).bytesCopied == Array(12..<16))
  }

  @Test func `weights outlive the checkpoint that gave them`() throws {
    var checkpoint: Checkpoint? = try sharded().open()
    let stored = try #require(try checkpoint?.tensor(Weight("b", [3])))
    checkpoint = nil
    #expect(stored.bytesCopied == Array(0..<12))
  }

  @Test func `a missing folder or file is named`() throws {
    expectFailure(
      try Checkpoint(directory: "/nonexistent/model"), .notFound,
      "/nonexistent/model does not exist")
    let folder = try sharded()
    expectFailure(
      try Checkpoint(directory: folder.directory.path("config.json")), .failedPrecondition,
      "is a file", "folder")
    try folder.remove("two.safetensors")
    expectFailure(try folder.open(), .notFound, "two.safetensors is missing", "lists it")
    try folder.remove(Self.index)
    expectFailure(try folder.open(), .notFound, "neither model.safetensors nor")
    try folder.remove("config.json")
    expectFailure(try folder.open(), .notFound, "cannot open", "config.json")
  }

  @Test func `a file that is none is refused`() throws {
    let folder = try sharded()
    try folder.remove("one.safetensors")
    try FileManager.default.createDirectory(
      atPath: folder.directory.path("one.safetensors"), withIntermediateDirectories: false)
    expectFailure(try folder.open(), .failedPrecondition, "one.safetensors is not a file")
    try folder.write("config.json", "")
    expectFailure(try folder.open(), .failedPrecondition, "config.json is not valid JSON")
  }

  @Test func `an index that its shards contradict is refused`() throws {
    let map = { (members: String) in "{\"weight_map\": {\(members)}}" }
    expectFailure(
      try sharded(
        index: map(#""a": "one.safetensors", "b": "two.safetensors", "x": "two.safetensors""#)
      ).open(), .failedPrecondition, "two.safetensors: tensor x is missing")
    expectFailure(
      try sharded(index: map(#""a": "two.safetensors", "b": "one.safetensors""#)).open(),
      .failedPrecondition, "tensor a is in", "one.safetensors, but", "lists it in")
    expectFailure(
      try sharded(index: map(#""a": "../one.safetensors""#)).open(), .failedPrecondition,
      "weight_map.a holds \"../one.safetensors\", expected the name of a file")
    expectFailure(
      try sharded(index: map(#""a": 1"#)).open(), .failedPrecondition, "weight_map.a holds 1")
    expectFailure(
      try sharded(index: "{}").open(), .failedPrecondition, "weight_map is missing")
    let folder = try sharded()
    try folder.write(
      "two.safetensors",
      CheckpointFolder.safetensors(CheckpointFolder.header(["a": 3, "b": 1]), dataByteCount: 16))
    expectFailure(
      try folder.open(), .failedPrecondition, "tensor a is in both", "one.saf", "two.saf")
  }

  @Test func `a weight that is missing, misshapen or of another type is refused`() throws {
    let folder = try CheckpointFolder()
    try folder.write(
      "model.safetensors",
      CheckpointFolder.safetensors(
        """
        {"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
         "ids":{"dtype":"I64","shape":[1],"data_offsets":[24,32]},
         "q":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[32,36]}}
        """, dataByteCount: 36))
    let checkpoint = try folder.open()
    for (weight, reason) in [
      (Weight("x", [1]), "tensor x is missing"),
      (Weight("a", [3, 2]), "tensor a has shape [2, 3], expected [3, 2]"),
      (Weight("a", [6]), "tensor a has shape [2, 3], expected [6]"),
      (Weight("ids", [1]), "tensor ids has dtype I64, expected F32"),
      (Weight("q", [2, 2]), "no quantization_config"),
    ] {
      let error = #expect(throws: WeightError.self) { try checkpoint.tensor(weight) }
      #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }
  }

  @Test(arguments: [
    (#""dtype":"F32","shape":[1,2],"data_offsets":[6,14]"#, 14, "shape [1, 2], expected [2, 1]"),
    (#""dtype":"I32","shape":[2,1],"data_offsets":[6,14]"#, 14, "has dtype I32"),
    (#""dtype":"F8_E4M3","shape":[2,1],"data_offsets":[6,8]"#, 8, "has dtype F8_E4M3"),
  ])
  func `wrong FP8 scales are refused`(_ scale: String, _ byteCount: Int, _ reason: String) throws {
    let folder = try CheckpointFolder(
      config: CheckpointFolder.config.dropLast() + """
        ,"quantization_config":{"quant_method":"fp8","weight_block_size":[2,2]}}
        """)
    let weight = #""q":{"dtype":"F8_E4M3","shape":[3,2],"data_offsets":[0,6]}"#
    try folder.write(
      "model.safetensors",
      CheckpointFolder.safetensors(
        "{\(weight),\"q_scale_inv\":{\(scale)}}", dataByteCount: byteCount))
    let error = #expect(throws: WeightError.self) {
      try folder.open().tensor(Weight("q", [3, 2]))
    }
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")

    try folder.write(
      "model.safetensors", CheckpointFolder.safetensors("{\(weight)}", dataByteCount: 6))
    let missing = #expect(throws: WeightError.self) {
      try folder.open().tensor(Weight("q", [3, 2]))
    }
    #expect(missing?.message.contains("no _scale_inv") == true)
  }

  @Test func `sampling defaults are read, and refused when they make no sense`() throws {
    let folder = try sharded()
    let set = { try folder.write("generation_config.json", $0 as String) }
    #expect(try folder.open().generationDefaults == GenerationDefaults())
    try set(
      #"{"eos_token_id": [3, 4], "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05}"#
    )
    var checkpoint = try folder.open()
    #expect(checkpoint.endTokenIDs == [3, 4] && checkpoint.generationDefaults.topK == 20)
    #expect(checkpoint.generationDefaults.temperature == nil)
    #expect(checkpoint.generationDefaults.repetitionPenalty == 1.05)
    try set(#"{"do_sample": false, "temperature": 0.7, "eos_token_id": 5}"#)
    checkpoint = try folder.open()
    #expect(checkpoint.generationDefaults.temperature == 0 && checkpoint.endTokenIDs == [5])
    for (text, reason) in [
      (#"{"top_p": 1.5}"#, "top_p holds 1.5, expected a number from 0 to 1"),
      (#"{"temperature": -1}"#, "temperature holds -1, expected a number of at least 0"),
      (#"{"temperature": "hot"}"#, "temperature holds \"hot\""),
      (#"{"top_k": 2.5}"#, "top_k holds 2.5, expected an integer"),
      (#"{"eos_token_id": [1, -1]}"#, "eos_token_id holds [1,-1]"),
      (#"{"temperature": NaN}"#, "not valid JSON"),
    ] {
      try set(text)
      expectFailure(try folder.open(), .failedPrecondition, "generation_config.json", reason)
    }
  }
}
