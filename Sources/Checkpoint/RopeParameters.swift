// SPDX-License-Identifier: Apache-2.0

internal import Support

/// The rotary embedding of a model, in one form for both dialects of `config.json`: `rope_theta`
/// beside `rope_scaling`, and (transformers 5) `rope_parameters` that holds all.
package struct RopeParameters: Hashable, Sendable {
  package enum Scaling: Hashable, Sendable {
    case none
    case yarn(YaRN)
    case llama3(Llama3)
  }

  /// Context extension of Peng et al. 2023, with DeepSeek's two further factors.
  package struct YaRN: Hashable, Sendable {
    package var factor: Double
    package var betaFast: Double
    package var betaSlow: Double
    /// 0 if the file has none.
    package var mscale: Double
    /// 0 if the file has none.
    package var mscaleAllDim: Double
    /// Overrides the factor of sine and cosine that follows from the others.
    package var attentionFactor: Double?
    package var originalContextLength: Int
    /// Whether the bounds of the ramp are rounded to whole pairs.
    package var truncate: Bool
  }

  /// Context extension of Llama 3.1.
  package struct Llama3: Hashable, Sendable {
    package var factor: Double
    package var lowFrequencyFactor: Double
    package var highFrequencyFactor: Double
    package var originalContextLength: Int
  }

  package var theta: Double
  package var scaling: Scaling

  /// Reads them as transformers does: a `rope_scaling` that says anything goes before
  /// `rope_parameters`, a theta inside before the one beside it, 10,000 where there is none.
  init(_ root: ConfigurationFields, contextLength: Int) throws(CheckpointError) {
    var section: ConfigurationFields?
    for key in ["rope_scaling", "rope_parameters"] where section == nil {
      if let fields = try root.fields(key), !fields.members().isEmpty { section = fields }
    }
    let fields = section ?? root
    let outerTheta = try root.float("rope_theta", above: 1, default: 10_000)
    theta = try fields.float("rope_theta", above: 1, default: outerTheta)
    try Self.refusePartialRotation(fields, root)
    guard let section else {
      scaling = .none
      return
    }
    // As transformers: the one beside the section goes first.
    let key = "original_max_position_embeddings"
    let innerLength = try section.integer(key, 1..., default: contextLength)
    let original = try root.integer(key, 1..., default: innerLength)
    scaling = try Self.scaling(section, originalContextLength: original)
  }

  private static func scaling(_ fields: ConfigurationFields, originalContextLength: Int)
    throws(CheckpointError) -> Scaling
  {
    let key = fields.has("rope_type") ? "rope_type" : "type"
    switch try fields.string(key, default: "default") {
    case "default": return .none
    // Both leave the frequencies as they are for a factor of 1.
    case "linear" where try fields.float("factor", above: 0) == 1: return .none
    case "dynamic" where try fields.float("factor", above: 0) == 1: return .none
    case "yarn": return .yarn(try YaRN(fields, originalContextLength: originalContextLength))
    case "llama3": return .llama3(try Llama3(fields, originalContextLength: originalContextLength))
    default:
      if let nested = fields.members().first(where: { $0.value.objectValue != nil }) {
        throw fields.invalid(nested.key, expected: "one rope for all layers", code: .unimplemented)
      }
      throw fields.invalid(
        key, expected: "\"default\", \"yarn\" or \"llama3\"", code: .unimplemented)
    }
  }

  private static func refusePartialRotation(
    _ fields: ConfigurationFields, _ root: ConfigurationFields
  ) throws(CheckpointError) {
    let key = "partial_rotary_factor"
    for place in [fields, root] where try place.optionalFloat(key, above: 0) ?? 1 != 1 {
      throw place.invalid(key, expected: "1", code: .unimplemented)
    }
  }
}

extension RopeParameters.YaRN {
  fileprivate init(_ fields: ConfigurationFields, originalContextLength: Int)
    throws(CheckpointError)
  {
    factor = try fields.float("factor", above: 0)
    betaFast = try fields.float("beta_fast", above: 0, default: 32)
    betaSlow = try fields.float("beta_slow", above: 0, default: 1)
    guard betaFast >= betaSlow else {
      throw fields.invalid("beta_fast", expected: "at least beta_slow, which is \(betaSlow)")
    }
    mscale = try fields.optionalFloat("mscale", atLeast: 0) ?? 0
    mscaleAllDim = try fields.optionalFloat("mscale_all_dim", atLeast: 0) ?? 0
    attentionFactor = try fields.optionalFloat("attention_factor", above: 0)
    self.originalContextLength = originalContextLength
    truncate = try fields.bool("truncate", default: true)
  }
}

extension RopeParameters.Llama3 {
  fileprivate init(_ fields: ConfigurationFields, originalContextLength: Int)
    throws(CheckpointError)
  {
    factor = try fields.float("factor", above: 0)
    lowFrequencyFactor = try fields.float("low_freq_factor", above: 0)
    highFrequencyFactor = try fields.float("high_freq_factor", above: 0)
    guard highFrequencyFactor > lowFrequencyFactor else {
      throw fields.invalid(
        "high_freq_factor", expected: "more than low_freq_factor, which is \(lowFrequencyFactor)")
    }
    self.originalContextLength = originalContextLength
  }
}
