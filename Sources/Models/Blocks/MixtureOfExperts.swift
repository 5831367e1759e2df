// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program

/// How a router chooses; the rest of `Route` comes from the configuration.
struct Routing {
  var scoring: Route.Scoring
  var groups: Route.Groups?
  var hasCorrectionBias: Bool
  var normalize: Bool
}

/// What a family means by a field that its `config.json` leaves out, as transformers has it.
struct ExpertDefaults {
  /// `first_k_dense_replace`
  var firstLayer: Int
  /// `n_shared_experts`
  var sharedCount: Int
  /// `routed_scaling_factor`
  var scale: Double
  /// `n_group` and `topk_group`
  var groups: (count: Int, kept: Int)?
}

/// The feed-forward half of a layer as many small MLPs, of which a router chooses some for each
/// token, beside one that all tokens share (DeepSeekMoE, Dai et al. 2024).
struct MixtureOfExperts {
  let hiddenSize: Int
  let intermediateSize: Int
  let expertCount: Int
  /// Shared experts are stored as one, so many times as wide.
  let sharedCount: Int
  /// Of the shared experts; the routed ones have none.
  let hasSharedBias: Bool
  let topK: Int
  let scale: Float
  let routing: Routing

  init(
    _ configuration: ModelConfiguration, routing: Routing, defaults: ExpertDefaults,
    hasSharedBias: Bool = false
  ) throws(CheckpointError) {
    let fields = configuration.fields
    hiddenSize = try fields.integer("hidden_size", 1...)
    intermediateSize = try fields.integer("moe_intermediate_size", 1...)
    expertCount = try fields.integer("n_routed_experts", 1...)
    sharedCount = try fields.integer("n_shared_experts", 0..., default: defaults.sharedCount)
    self.hasSharedBias = hasSharedBias
    topK = try fields.integer("num_experts_per_tok", 1...expertCount)
    scale = Float(
      try fields.float("routed_scaling_factor", above: 0, default: defaults.scale))
    self.routing = routing
  }

  /// `prefix` is what stands before the experts' names: "model.layers.1.mlp.".
  func build(_ b: inout ProgramBuilder, _ x: ValueID, _ prefix: String) -> ValueID {
    let chosen = b.route(
      x, Weight("\(prefix)gate.weight", [expertCount, hiddenSize]),
      correctionBias: routing.hasCorrectionBias
        ? Weight("\(prefix)gate.e_score_correction_bias", [expertCount]) : nil,
      scoring: routing.scoring, groups: routing.groups, topK: topK, normalize: routing.normalize,
      scale: scale)
    let routed = b.experts(x, routing: chosen, (0..<expertCount).map { expert(prefix, $0) })
    guard sharedCount > 0 else { return routed }
    let shared = GatedMLP(
      hiddenSize: hiddenSize, intermediateSize: sharedCount * intermediateSize,
      hasBias: hasSharedBias)
    return b.add(routed, shared.build(&b, x, prefix + "shared_experts."))
  }

  private func expert(_ prefix: String, _ index: Int) -> Experts.Expert {
    let name = "\(prefix)experts.\(index)."
    return Experts.Expert(
      gate: Weight("\(name)gate_proj.weight", [intermediateSize, hiddenSize]),
      up: Weight("\(name)up_proj.weight", [intermediateSize, hiddenSize]),
      down: Weight("\(name)down_proj.weight", [hiddenSize, intermediateSize]))
  }
}

extension Route.Groups {
  /// `n_group` and `topk_group`, checked against each other and the number of experts.
  init(
    _ fields: ConfigurationFields, score: Route.GroupScore, defaults: ExpertDefaults
  ) throws(CheckpointError) {
    let experts = try fields.integer("n_routed_experts", 1...)
    let count = try fields.integer("n_group", 1..., default: defaults.groups?.count ?? 1)
    guard experts % count == 0 else {
      throw fields.invalid(
        "n_group", expected: "a divisor of n_routed_experts, which is \(experts)")
    }
    let smallest = score == .twoLargest ? 2 : 1
    guard experts / count >= smallest else {
      throw fields.invalid("n_group", expected: "at least \(smallest) experts in each group")
    }
    let kept = try fields.integer("topk_group", 1..., default: defaults.groups?.kept ?? 1)
    guard kept <= count else {
      throw fields.invalid("topk_group", expected: "at most n_group, which is \(count)")
    }
    guard kept * (experts / count) >= (try fields.integer("num_experts_per_tok", 1...)) else {
      throw fields.invalid(
        "topk_group", expected: "groups that hold at least num_experts_per_tok experts")
    }
    self.init(count: count, kept: kept, score: score)
  }
}
