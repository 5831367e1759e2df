// SPDX-License-Identifier: Apache-2.0

internal import Support

/// What `config.json` says of a model: what all families share as properties, the rest through
/// `fields`.
package struct ModelConfiguration: Sendable {
  /// How matrices are stored, by `quant_method`.
  package enum Quantization: Hashable, Sendable {
    /// The block-wise FP8 format of DeepSeek-V3: each block of a weight has one scale.
    case float8(Float8Blocks)
    /// Packed by `silica quantize`.
    case packed(PackedFormat)
    /// By a program that calibrates weights: integer codes, or FP8 with scales of rows or tensors.
    case calibrated(CalibratedFormat)
  }

  package struct Float8Blocks: Hashable, Sendable {
    package let rows: Int
    package let columns: Int
    /// Of activations as well; `scale_fmt` is "ue8m0".
    package let scalesArePowersOfTwo: Bool
  }

  /// The first of `architectures`: "DeepseekV3ForCausalLM".
  package let architecture: String
  package let vocabularySize: Int
  /// `max_position_embeddings`
  package let contextLength: Int
  package let rope: RopeParameters
  /// nil if weights are stored as plain floats.
  package let quantization: Quantization?
  /// `bos_token_id`, if the model has one.
  package let beginTokenID: Int?
  /// `eos_token_id`; the ids of `generation_config.json` go before it, see `Checkpoint`.
  package let endTokenIDs: [Int]
  /// `tie_word_embeddings`. (Whether `lm_head.weight` is there decides, where both speak.)
  package let tiesWordEmbeddings: Bool
  /// Whether the checkpoint says of itself, with `"silica_untrained": true`, that its weights are
  /// random and its text therefore means nothing.
  package let isUntrained: Bool
  /// Every field of the file.
  package let fields: ConfigurationFields

  /// Reads and checks `config.json`.
  package init(_ fields: ConfigurationFields) throws(CheckpointError) {
    self.fields = fields
    guard let architecture = try fields.strings("architectures").first else {
      throw fields.invalid("architectures", expected: "a list with the name of the model's class")
    }
    self.architecture = architecture
    vocabularySize = try fields.integer("vocab_size", 1...)
    contextLength = try fields.integer("max_position_embeddings", 1...)
    rope = try RopeParameters(fields, contextLength: contextLength)
    quantization = try fields.fields("quantization_config").map {
      (section) throws(CheckpointError) in try Quantization(section)
    }
    beginTokenID = try fields.integers("bos_token_id").first
    endTokenIDs = try fields.integers("eos_token_id")
    tiesWordEmbeddings = try fields.bool("tie_word_embeddings", default: false)
    isUntrained = try fields.bool("silica_untrained", default: false)
  }
}

extension ModelConfiguration.Quantization {
  fileprivate init(_ fields: ConfigurationFields) throws(CheckpointError) {
    switch try fields.string("quant_method") {
    case "fp8": self = try Self.float8(fields)
    case PackedFormat.name: self = .packed(try PackedFormat(fields))
    case "compressed-tensors": self = .calibrated(try .compressedTensors(fields))
    case "gptq": self = .calibrated(try .gptq(fields))
    case "awq": self = .calibrated(try .awq(fields))
    default:
      let known = ["fp8", "compressed-tensors", "gptq", "awq", PackedFormat.name]
      throw fields.invalid(
        "quant_method", expected: "one of " + known.map { "\"\($0)\"" }.joined(separator: ", "),
        code: .unimplemented)
    }
  }

  private static func float8(_ fields: ConfigurationFields) throws(CheckpointError) -> Self {
    guard try ["e4m3", "float8_e4m3fn"].contains(fields.string("fmt", default: "e4m3")) else {
      throw fields.invalid("fmt", expected: "\"e4m3\"", code: .unimplemented)
    }
    let block = try fields.integers("weight_block_size")
    guard block.count == 2, block.allSatisfy({ $0 > 0 }) else {
      throw fields.invalid(
        "weight_block_size", expected: "two sizes as in [128, 128]", code: .unimplemented)
    }
    let format = try fields.optionalString("scale_fmt")
    guard format == nil || format == "ue8m0" else {
      throw fields.invalid("scale_fmt", expected: "\"ue8m0\", or nothing", code: .unimplemented)
    }
    return .float8(
      .init(rows: block[0], columns: block[1], scalesArePowersOfTwo: format == "ue8m0"))
  }
}
