// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program
internal import Support

/// Qwen2 and Qwen2.5 (Yang et al. 2024), DeepSeek-R1-Distill-Qwen among them: as Llama, with a bias
/// on queries, keys and values.
struct Qwen2 {
  private let decoder: Decoder
  private let attention: GroupedQueryAttention
  private let mlp: GatedMLP

  init(_ configuration: ModelConfiguration) throws(CheckpointError) {
    let fields = configuration.fields
    try Self.refuseSlidingWindow(fields)
    decoder = try Decoder(configuration)
    attention = try GroupedQueryAttention(
      configuration, hasProjectionBias: true, hasOutputBias: false)
    mlp = GatedMLP(
      hiddenSize: decoder.hiddenSize,
      intermediateSize: try fields.integer("intermediate_size", 1...))
  }

  /// Shipped configurations name a window but do not use it: they leave it off, or begin it at a
  /// layer (`max_window_layers`) that they do not have.
  private static func refuseSlidingWindow(_ fields: ConfigurationFields) throws(CheckpointError) {
    let isOn = try fields.bool("use_sliding_window", default: false)
    let firstLayer = try fields.integer("max_window_layers", 0..., default: 28)
    let layerCount = try fields.integer("num_hidden_layers", 1...)
    if isOn, !fields.has("layer_types"), firstLayer < layerCount {
      throw fields.invalid("use_sliding_window", expected: "false", code: .unimplemented)
    }
    if try fields.strings("layer_types").contains(where: { $0 != "full_attention" }) {
      throw fields.invalid(
        "layer_types", expected: "\"full_attention\" in all layers", code: .unimplemented)
    }
  }

  @Sendable static func program(
    _ configuration: ModelConfiguration, head: Weight
  ) throws(CheckpointError) -> Program {
    try Self(configuration).program(head: head)
  }

  private func program(head: Weight) -> Program {
    decoder.program(
      head: head,
      Decoder.Halves(
        attention: { b, x, prefix in attention.build(&b, x, prefix + "self_attn.") },
        feedForward: { b, x, prefix, _ in mlp.build(&b, x, prefix + "mlp.") }))
  }
}
