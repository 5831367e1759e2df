// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program

/// Attention in which groups of query heads share a key and a value head (Ainslie et al. 2023),
/// with rotary positions in halves: Llama and Qwen2.
struct GroupedQueryAttention {
  let hiddenSize: Int
  let headCount: Int
  let keyHeadCount: Int
  let headWidth: Int
  let hasProjectionBias: Bool
  let hasOutputBias: Bool
  let rope: RopeTable

  init(
    _ configuration: ModelConfiguration, hasProjectionBias: Bool, hasOutputBias: Bool
  ) throws(CheckpointError) {
    let fields = configuration.fields
    hiddenSize = try fields.integer("hidden_size", 1...)
    headCount = try fields.integer("num_attention_heads", 1...)
    keyHeadCount = try fields.integer("num_key_value_heads", 1..., default: headCount)
    guard headCount % keyHeadCount == 0 else {
      throw fields.invalid(
        "num_key_value_heads", expected: "a divisor of num_attention_heads, which is \(headCount)")
    }
    let stored = try fields.optionalInteger("head_dim", 2...)
    headWidth = stored ?? hiddenSize / headCount
    guard headWidth % 2 == 0, stored != nil || hiddenSize % headCount == 0 else {
      throw fields.invalid(
        stored == nil ? "num_attention_heads" : "head_dim",
        expected: "heads of an even width that divide hidden_size, which is \(hiddenSize)")
    }
    self.hasProjectionBias = hasProjectionBias
    self.hasOutputBias = hasOutputBias
    rope = RopeTable(configuration.rope, width: headWidth)
  }

  /// `prefix` is what stands before the projections' names: "model.layers.0.self_attn.".
  func build(_ b: inout ProgramBuilder, _ x: ValueID, _ prefix: String) -> ValueID {
    let q = heads(of: project(&b, x, prefix + "q_proj", heads: headCount), headCount)
    let k = heads(of: project(&b, x, prefix + "k_proj", heads: keyHeadCount), keyHeadCount)
    let v = heads(of: project(&b, x, prefix + "v_proj", heads: keyHeadCount), keyHeadCount)
    b.rope(q, rope, layout: .halves)
    b.rope(k, rope, layout: .halves)
    let attended = b.attention(
      queries: q, keys: k, values: v, scale: 1 / Float(headWidth).squareRoot())
    return b.linear(
      attended, Weight("\(prefix)o_proj.weight", [hiddenSize, headCount * headWidth]),
      bias: hasOutputBias ? Weight("\(prefix)o_proj.bias", [hiddenSize]) : nil)
  }

  private func project(
    _ b: inout ProgramBuilder, _ x: ValueID, _ name: String, heads: Int
  ) -> ValueID {
    b.linear(
      x, Weight("\(name).weight", [heads * headWidth, hiddenSize]),
      bias: hasProjectionBias ? Weight("\(name).bias", [heads * headWidth]) : nil)
  }

  private func heads(of value: ValueID, _ count: Int) -> Columns {
    Columns(value, width: headWidth, count: count, stride: headWidth)
  }
}
