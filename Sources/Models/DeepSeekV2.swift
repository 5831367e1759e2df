// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program
internal import Support

/// DeepSeek-V2 and V2-Lite (arXiv 2405.04434): latent attention, and experts chosen by softmax
/// scores, in V2 from a few groups only.
struct DeepSeekV2 {
  private static let defaults = ExpertDefaults(firstLayer: 0, sharedCount: 2, scale: 1)

  private let decoder: Decoder
  private let attention: MultiHeadLatentAttention
  private let dense: GatedMLP
  private let experts: MixtureOfExperts
  private let layers: ExpertLayers

  init(_ configuration: ModelConfiguration) throws(CheckpointError) {
    let fields = configuration.fields
    decoder = try Decoder(configuration)
    attention = try MultiHeadLatentAttention(configuration, ropeLayout: .interleaved)
    layers = try ExpertLayers(fields, defaults: Self.defaults)
    let hasBias = try fields.bool("mlp_bias", default: false)
    dense = GatedMLP(
      hiddenSize: decoder.hiddenSize,
      intermediateSize: try fields.integer("intermediate_size", 1...), hasBias: hasBias)
    guard try fields.string("scoring_func", default: "softmax") == "softmax" else {
      throw fields.invalid("scoring_func", expected: "\"softmax\"", code: .unimplemented)
    }
    // Weights are never normalised: transformers and DeepSeek's own code agree for V2, whatever
    // norm_topk_prob says.
    experts = try MixtureOfExperts(
      configuration,
      routing: Routing(
        scoring: .softmax, groups: try Self.groups(fields), hasCorrectionBias: false,
        normalize: false),
      defaults: Self.defaults, hasSharedBias: hasBias)
  }

  private static func groups(_ fields: ConfigurationFields) throws(CheckpointError) -> Route.Groups?
  {
    switch try fields.string("topk_method", default: "greedy") {
    case "greedy": return nil
    case "group_limited_greedy":
      return try Route.Groups(fields, score: .largest, defaults: defaults)
    default:
      throw fields.invalid(
        "topk_method", expected: "\"greedy\" or \"group_limited_greedy\"", code: .unimplemented)
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
        feedForward: { b, x, prefix, layer in
          layers.contain(layer)
            ? experts.build(&b, x, prefix + "mlp.") : dense.build(&b, x, prefix + "mlp.")
        }))
  }
}
