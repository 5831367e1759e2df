// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program

/// Llama 2 and 3 (Touvron et al. 2023), DeepSeek-R1-Distill-Llama among them.
struct Llama {
  private let decoder: Decoder
  private let attention: GroupedQueryAttention
  private let mlp: GatedMLP

  init(_ configuration: ModelConfiguration) throws(CheckpointError) {
    let fields = configuration.fields
    decoder = try Decoder(configuration)
    let hasBias = try fields.bool("attention_bias", default: false)
    attention = try GroupedQueryAttention(
      configuration, hasProjectionBias: hasBias, hasOutputBias: hasBias)
    mlp = GatedMLP(
      hiddenSize: decoder.hiddenSize,
      intermediateSize: try fields.integer("intermediate_size", 1...),
      hasBias: try fields.bool("mlp_bias", default: false))
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
