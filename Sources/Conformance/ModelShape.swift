// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
package import Models
package import Program
internal import Support

/// A published model without its weights.
package struct ModelShape: Hashable, Sendable {
  /// What is written before a shape's name where a model's folder could stand.
  package static let prefix = "shape:"

  /// As it was asked for: "v2-lite/2".
  package let name: String
  private let configuration: String
  private let layers: Int
  private let vocabulary: Int

  /// The names that there are.
  package static var names: [String] { published.map(\.name) }

  /// "NAME" or "NAME/LAYERS". Throws what was expected.
  ///
  /// - Parameter vocabulary: nil: as published.
  package init(_ text: String, vocabulary: Int? = nil) throws(ModelError) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let shape = Self.published.first(where: { $0.name == parts[0] }), parts.count <= 2 else {
      throw ModelError(
        .invalidArgument,
        "there is no shape '\(text)'; expected \(Self.names.joined(separator: ", ")), or one of "
          + "them with a number of layers, as v2-lite/2")
    }
    layers = parts.count == 1 ? shape.layers : Int(parts[1]) ?? 0
    guard (1...shape.layers).contains(layers) else {
      throw ModelError(
        .invalidArgument, "shape '\(text)' has 1 to \(shape.layers) layers, not '\(parts[1])'")
    }
    name = text
    configuration = shape.configuration
    self.vocabulary = vocabulary ?? shape.vocabulary
  }

  package func program() throws(ModelError) -> Program {
    let counts = "\"num_hidden_layers\": \(layers), \"vocab_size\": \(vocabulary)"
    return try Model.program(
      forConfiguration: "{\(configuration), \(counts)}", name: Self.prefix + name)
  }

  private struct Published {
    var name: String
    var layers: Int
    var vocabulary: Int
    var configuration: String
  }

  // The published `config.json`, what programs do not read left out; `tiny-…` are for trials.
  private static let published = [
    Published(name: "qwen-7b", layers: 28, vocabulary: 152064, configuration: qwen7B),
    Published(name: "llama-8b", layers: 32, vocabulary: 128256, configuration: llama8B),
    Published(name: "v2-lite", layers: 27, vocabulary: 102400, configuration: v2Lite),
    Published(name: "v3", layers: 61, vocabulary: 129280, configuration: v3),
    Published(name: "tiny-qwen", layers: 4, vocabulary: 256, configuration: tinyQwen),
    Published(name: "tiny-v3", layers: 4, vocabulary: 256, configuration: tinyV3),
    Published(name: "tiny-wide", layers: 2, vocabulary: 256, configuration: tinyWide),
    Published(name: "tiny-heads", layers: 2, vocabulary: 256, configuration: tinyHeads),
  ]

  private static let qwen7B = """
    "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "intermediate_size": 18944,
    "num_attention_heads": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
    "rope_theta": 10000, "max_position_embeddings": 131072
    """

  private static let llama8B = """
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
    "rope_theta": 500000, "max_position_embeddings": 131072
    """

  private static let v2Lite = """
    "architectures": ["DeepseekV2ForCausalLM"], "hidden_size": 2048, "intermediate_size": 10944,
    "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": null,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "first_k_dense_replace": 1, "moe_intermediate_size": 1408, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "norm_topk_prob": false,
    "topk_method": "greedy", "routed_scaling_factor": 1.0, "rms_norm_eps": 1e-6,
    "rope_theta": 10000, "max_position_embeddings": 163840
    """

  private static let v3 = """
    "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 7168, "intermediate_size": 18432,
    "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "first_k_dense_replace": 3, "moe_intermediate_size": 2048, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
    "norm_topk_prob": true, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "routed_scaling_factor": 2.5, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "max_position_embeddings": 163840
    """

  private static let tinyQwen = """
    "architectures": ["Qwen2ForCausalLM"], "hidden_size": 128, "intermediate_size": 192,
    "num_attention_heads": 8, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
    "rope_theta": 10000, "max_position_embeddings": 512
    """

  /// Heads as wide as published ones.
  private static let tinyWide = """
    "architectures": ["Qwen2ForCausalLM"], "hidden_size": 512, "intermediate_size": 320,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
    "rope_theta": 10000, "max_position_embeddings": 512
    """

  /// As many heads as DeepSeek-V3 has.
  private static let tinyHeads = """
    "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 128, "intermediate_size": 192,
    "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 64,
    "kv_lora_rank": 160, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24,
    "first_k_dense_replace": 2, "moe_intermediate_size": 64, "n_routed_experts": 16,
    "n_shared_experts": 1, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2,
    "norm_topk_prob": true, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "routed_scaling_factor": 2.5, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "max_position_embeddings": 512
    """

  private static let tinyV3 = """
    "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 128, "intermediate_size": 192,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 96,
    "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "first_k_dense_replace": 1, "moe_intermediate_size": 64, "n_routed_experts": 16,
    "n_shared_experts": 1, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2,
    "norm_topk_prob": true, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "routed_scaling_factor": 2.5, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "max_position_embeddings": 512
    """
}
