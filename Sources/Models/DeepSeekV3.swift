// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program
internal import Support

/// DeepSeek-V3, V3.1 and R1 (arXiv 2412.19437): as V2, with experts chosen by sigmoid scores and a
/// learned bias that balances their load without an auxiliary loss ("noaux_tc").
///
/// The layer for multi-token prediction, stored as one more layer after the last, is a program of
/// its own: it guesses the token after the next one.
struct DeepSeekV3 {
  private static let defaults = ExpertDefaults(
    firstLayer: 3, sharedCount: 1, scale: 2.5, groups: (count: 8, kept: 4))

  private let decoder: Decoder
  private let attention: MultiHeadLatentAttention
  private let dense: GatedMLP
  private let experts: MixtureOfExperts
  private let layers: ExpertLayers
  /// Layers for multi-token prediction; all released models have one.
  private let nextTokenLayerCount: Int

  init(_ configuration: ModelConfiguration) throws(CheckpointError) {
    let fields = configuration.fields
    decoder = try Decoder(configuration)
    attention = try MultiHeadLatentAttention(
      configuration,
      ropeLayout: try fields.bool("rope_interleave", default: true) ? .interleaved : .halves)
    layers = try ExpertLayers(fields, defaults: Self.defaults)
    nextTokenLayerCount = try fields.integer("num_nextn_predict_layers", 0..., default: 0)
    dense = GatedMLP(
      hiddenSize: decoder.hiddenSize,
      intermediateSize: try fields.integer("intermediate_size", 1...))
    guard try fields.string("scoring_func", default: "sigmoid") == "sigmoid" else {
      throw fields.invalid("scoring_func", expected: "\"sigmoid\"", code: .unimplemented)
    }
    guard try fields.string("topk_method", default: "noaux_tc") == "noaux_tc" else {
      throw fields.invalid("topk_method", expected: "\"noaux_tc\"", code: .unimplemented)
    }
    experts = try MixtureOfExperts(
      configuration,
      routing: Routing(
        scoring: .sigmoid,
        groups: try Route.Groups(fields, score: .twoLargest, defaults: Self.defaults),
        hasCorrectionBias: true, normalize: try fields.bool("norm_topk_prob", default: true)),
      defaults: Self.defaults)
  }

  @Sendable static func program(
    _ configuration: ModelConfiguration, head: Weight
  ) throws(CheckpointError) -> Program {
    let model = try Self(configuration)
    return model.decoder.program(head: head, model.halves)
  }

  /// Nil for a model without such a layer.
  @Sendable static func nextTokenProgram(
    _ configuration: ModelConfiguration, head: Weight
  ) throws(CheckpointError) -> Program? {
    let model = try Self(configuration)
    guard model.nextTokenLayerCount > 0 else { return nil }
    return model.decoder.nextTokenProgram(head: head, model.halves)
  }

  private var halves: Decoder.Halves {
    Decoder.Halves(
      attention: { b, x, prefix in attention.build(&b, x, prefix + "self_attn.") },
      feedForward: { b, x, prefix, layer in
        layers.contain(layer)
          ? experts.build(&b, x, prefix + "mlp.") : dense.build(&b, x, prefix + "mlp.")
      })
  }
}
