// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program

/// Attention over a compressed latent that all heads share (DeepSeek-V2 paper, section 2.1), in
/// its absorbed form: `kv_b_proj` is folded into queries and outputs, so that the cache holds the
/// latent and one rotated key part of each token, and nothing is expanded.
struct MultiHeadLatentAttention {
  let hiddenSize: Int
  let headCount: Int
  /// nil: queries come from one matrix (V2-Lite).
  let queryRank: Int?
  let latentWidth: Int
  let plainWidth: Int
  let ropeWidth: Int
  let valueWidth: Int
  let hasBias: Bool
  let scale: Float
  let rope: RopeTable
  let ropeLayout: Rope.Layout

  /// transformers makes the norms of the compressed parts with their class's own epsilon, whatever
  /// `rms_norm_eps` says.
  private static let latentEpsilon: Float = 1e-6

  init(_ configuration: ModelConfiguration, ropeLayout: Rope.Layout) throws(CheckpointError) {
    let fields = configuration.fields
    hiddenSize = try fields.integer("hidden_size", 1...)
    headCount = try fields.integer("num_attention_heads", 1...)
    queryRank = try fields.optionalInteger("q_lora_rank", 1...)
    latentWidth = try fields.integer("kv_lora_rank", 1...)
    plainWidth = try fields.integer("qk_nope_head_dim", 1...)
    ropeWidth = try fields.integer("qk_rope_head_dim", 2...)
    valueWidth = try fields.integer("v_head_dim", 1...)
    guard ropeWidth % 2 == 0 else {
      throw fields.invalid("qk_rope_head_dim", expected: "an even number")
    }
    guard try fields.integer("num_key_value_heads", 1..., default: headCount) == headCount else {
      throw fields.invalid(
        "num_key_value_heads", expected: "num_attention_heads, which is \(headCount)")
    }
    hasBias = try fields.bool("attention_bias", default: false)
    rope = RopeTable(configuration.rope, width: ropeWidth)
    self.ropeLayout = ropeLayout
    let magnitude = configuration.rope.softmaxMagnitude
    scale = Float(magnitude * magnitude / Double(plainWidth + ropeWidth).squareRoot())
  }

  /// `prefix` is what stands before the projections' names: "model.layers.0.self_attn.".
  func build(_ b: inout ProgramBuilder, _ x: ValueID, _ prefix: String) -> ValueID {
    let headWidth = plainWidth + ropeWidth
    let q = queries(&b, x, prefix)
    let plainQueries = Columns(q, width: plainWidth, count: headCount, stride: headWidth)
    let ropeQueries = Columns(
      q, offset: plainWidth, width: ropeWidth, count: headCount, stride: headWidth)

    let compressed = b.linear(
      x, Weight("\(prefix)kv_a_proj_with_mqa.weight", [latentWidth + ropeWidth, hiddenSize]),
      bias: bias("\(prefix)kv_a_proj_with_mqa", latentWidth + ropeWidth))
    let latent = b.rmsNorm(
      Columns(compressed, width: latentWidth),
      Weight("\(prefix)kv_a_layernorm.weight", [latentWidth]), epsilon: Self.latentEpsilon)
    let ropeKey = Columns(compressed, offset: latentWidth, width: ropeWidth)

    // Each head of kv_b_proj is the rows that make keys, then those that make values.
    let rowsPerHead = plainWidth + valueWidth
    let expansion = Weight("\(prefix)kv_b_proj.weight", [headCount * rowsPerHead, latentWidth])
    let latentQueries = b.headwiseLinear(
      plainQueries, expansion, rowsPerHead: rowsPerHead, rows: 0..<plainWidth,
      direction: .rowsToColumns)
    b.rope(ropeQueries, rope, layout: ropeLayout)
    b.rope(ropeKey, rope, layout: ropeLayout)
    let attended = b.latentAttention(
      latentQueries: heads(of: latentQueries), ropeQueries: ropeQueries,
      latent: b.all(of: latent), ropeKey: ropeKey, scale: scale)
    let values = b.headwiseLinear(
      heads(of: attended), expansion, rowsPerHead: rowsPerHead, rows: plainWidth..<rowsPerHead,
      direction: .columnsToRows)
    return b.linear(
      values, Weight("\(prefix)o_proj.weight", [hiddenSize, headCount * valueWidth]),
      bias: bias("\(prefix)o_proj", hiddenSize))
  }

  private func queries(_ b: inout ProgramBuilder, _ x: ValueID, _ prefix: String) -> ValueID {
    let width = headCount * (plainWidth + ropeWidth)
    guard let rank = queryRank else {
      return b.linear(x, Weight("\(prefix)q_proj.weight", [width, hiddenSize]))
    }
    let compressed = b.linear(
      x, Weight("\(prefix)q_a_proj.weight", [rank, hiddenSize]),
      bias: bias("\(prefix)q_a_proj", rank))
    let normed = b.rmsNorm(
      compressed, Weight("\(prefix)q_a_layernorm.weight", [rank]), epsilon: Self.latentEpsilon)
    return b.linear(normed, Weight("\(prefix)q_b_proj.weight", [width, rank]))
  }

  private func heads(of value: ValueID) -> Columns {
    Columns(value, width: latentWidth, count: headCount, stride: latentWidth)
  }

  private func bias(_ name: String, _ width: Int) -> Weight? {
    hasBias ? Weight("\(name).bias", [width]) : nil
  }
}
