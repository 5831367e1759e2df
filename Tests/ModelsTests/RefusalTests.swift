// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Foundation
import Models
import Program
import Support
import TestSupport
import Testing

/// What a checkpoint must be, and what is said of one that is not.
@Suite struct RefusalTests {
  /// A change of `config.json`, and what the refusal must contain.
  struct Case: Sendable, CustomTestStringConvertible {
    var model: String
    var set: [String: String]
    var says: [String]
    var code = ErrorCode.unimplemented

    var testDescription: String { "\(model) with \(set)" }
  }

  static let cases: [Case] = [
    Case(
      model: "qwen2", set: ["architectures": #"["GPT2LMHeadModel"]"#],
      says: ["architectures holds 'GPT2LMHeadModel'"] + Model.architectures),
    Case(
      model: "qwen2", set: ["hidden_act": #""gelu""#],
      says: ["config.json: hidden_act holds \"gelu\", expected \"silu\""]),
    Case(
      model: "qwen2",
      set: ["use_sliding_window": "true", "max_window_layers": "2", "layer_types": "null"],
      says: ["use_sliding_window holds true, expected false"]),
    Case(
      model: "qwen2", set: ["layer_types": #"["full_attention", "sliding_attention"]"#],
      says: ["layer_types holds", "full_attention"]),
    Case(
      model: "llama3", set: ["num_key_value_heads": "3"],
      says: ["num_key_value_heads holds 3, expected a divisor of num_attention_heads, which is 8"],
      code: .failedPrecondition),
    Case(
      model: "llama3", set: ["head_dim": "15"], says: ["head_dim holds 15"],
      code: .failedPrecondition),
    Case(
      model: "v2-lite", set: ["topk_method": #""noaux_tc""#],
      says: ["topk_method holds \"noaux_tc\"", "group_limited_greedy"]),
    Case(
      model: "v2-lite", set: ["scoring_func": #""sigmoid""#],
      says: ["scoring_func holds \"sigmoid\", expected \"softmax\""]),
    Case(
      model: "v2-lite", set: ["num_experts_per_tok": "9"],
      says: ["num_experts_per_tok holds 9, expected an integer from 1 to 8"],
      code: .failedPrecondition),
    Case(
      model: "v2-groups", set: ["n_group": "3"],
      says: ["n_group holds 3, expected a divisor of n_routed_experts, which is 16"],
      code: .failedPrecondition),
    Case(
      model: "v3", set: ["topk_group": "5"],
      says: ["topk_group holds 5, expected at most n_group, which is 4"],
      code: .failedPrecondition),
    Case(
      model: "v3", set: ["n_group": "16"],
      says: ["n_group holds 16, expected at least 2 experts in each group"],
      code: .failedPrecondition),
    Case(
      model: "v3", set: ["n_group": "8", "topk_group": "1"],
      says: ["topk_group holds 1, expected groups that hold at least num_experts_per_tok experts"],
      code: .failedPrecondition),
    Case(
      model: "v3", set: ["topk_method": #""greedy""#],
      says: ["topk_method holds \"greedy\", expected \"noaux_tc\""]),
    Case(
      model: "v3", set: ["scoring_func": #""softmax""#],
      says: ["scoring_func holds \"softmax\", expected \"sigmoid\""]),
    Case(
      model: "v3", set: ["num_key_value_heads": "2"],
      says: ["num_key_value_heads holds 2, expected num_attention_heads, which is 4"],
      code: .failedPrecondition),
    Case(
      model: "v3", set: ["qk_rope_head_dim": "15"], says: ["qk_rope_head_dim holds 15"],
      code: .failedPrecondition),
    Case(
      model: "v3", set: ["hidden_size": "null"],
      says: ["hidden_size is missing, expected an integer of at least 1"],
      code: .failedPrecondition),
    // Layers that the checkpoint does not have, and experts where it has none.
    Case(
      model: "v3", set: ["num_hidden_layers": "5"],
      says: ["tensor model.layers.4.", "is missing", "; and "], code: .failedPrecondition),
    Case(
      model: "v3", set: ["moe_layer_freq": "2"],
      says: ["tensor model.layers.1.mlp.gate_proj.weight is missing"], code: .failedPrecondition),
    Case(
      model: "qwen2", set: ["intermediate_size": "191"],
      says: ["model.layers.0.mlp.gate_proj.weight has shape [192, 128], expected [191, 128]"],
      code: .failedPrecondition),
  ]

  @Test(arguments: cases)
  func `what is not supported is refused by name`(_ refused: Case) throws {
    let golden = try SyntheticCheckpoint(refused.model)
    try Self.change(refused.set, in: golden.directory)
    let error = #expect(throws: ModelError.self) {
      try Model.program(for: Checkpoint(directory: golden.directory))
    }
    #expect(error?.code == refused.code)
    for part in refused.says {
      #expect(error?.message.contains(part) == true, "\(error?.message ?? "no error")")
    }
  }

  /// Settings that change nothing, because transformers ignores them or means the same.
  static let accepted: [Case] = [
    Case(model: "qwen2", set: ["hidden_act": #""swish""#], says: []),
    Case(
      model: "qwen2",
      set: ["use_sliding_window": "true", "max_window_layers": "3", "layer_types": "null"],
      says: []),
    Case(model: "qwen2", set: ["sliding_window": "4096"], says: []),
    Case(model: "v2-lite", set: ["norm_topk_prob": "true"], says: []),
    Case(model: "v2-lite", set: ["rope_interleave": "false"], says: []),
    Case(model: "v2-lite", set: ["attention_dropout": "0.5"], says: []),
    Case(model: "v2-lite", set: ["n_shared_experts": "null"], says: []),
    Case(
      model: "v3", set: ["routed_scaling_factor": "null", "n_shared_experts": "null"], says: []),
    Case(model: "v3", set: ["moe_layer_freq": "1", "norm_topk_prob": "null"], says: []),
    Case(model: "v3", set: ["mlp_bias": "true"], says: []),
  ]

  @Test(arguments: accepted)
  func `what changes nothing is accepted`(_ accepted: Case) throws {
    let golden = try SyntheticCheckpoint(accepted.model)
    let program = try Model.program(for: Checkpoint(directory: golden.directory))
    try Self.change(accepted.set, in: golden.directory)
    let changed = try Model.program(for: Checkpoint(directory: golden.directory))
    #expect(changed == program)
  }

  @Test func `a message about missing tensors names five and counts the rest`() throws {
    let golden = try SyntheticCheckpoint("qwen2")
    try Self.change(["num_hidden_layers": "6"], in: golden.directory)
    let error = #expect(throws: ModelError.self) {
      try Model.program(for: Checkpoint(directory: golden.directory))
    }
    let message = error?.message ?? ""
    #expect(message.components(separatedBy: " is missing").count == 6)
    // 12 tensors in each of 3 layers.
    #expect(message.hasSuffix("; and 31 more"), "\(message)")
  }

  /// Sets members of `config.json` to JSON values.
  private static func change(_ members: [String: String], in directory: String) throws {
    let file = URL(filePath: "\(directory)/config.json")
    var text = try String(contentsOf: file, encoding: .utf8)
    guard case .object(let object) = try JSON(parsing: text) else { return }
    let kept = object.members.filter { members[$0.key] == nil }.map { "\"\($0.key)\": \($0.value)" }
    let added = members.map { "\"\($0.key)\": \($0.value)" }
    text = "{\((kept + added).joined(separator: ", "))}"
    try text.write(to: file, atomically: true, encoding: .utf8)
  }
}
