// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Program
internal import Support

/// What all families have in common: embedding, layers of attention and feed-forward around a
/// residual stream, a last norm, the output matrix.
struct Decoder {
  let name: String
  let vocabularySize: Int
  let contextLength: Int
  let hiddenSize: Int
  let layerCount: Int
  /// `rms_norm_eps`
  let epsilon: Float

  init(_ configuration: ModelConfiguration) throws(CheckpointError) {
    let fields = configuration.fields
    name = configuration.architecture
    vocabularySize = configuration.vocabularySize
    contextLength = configuration.contextLength
    hiddenSize = try fields.integer("hidden_size", 1...)
    layerCount = try fields.integer("num_hidden_layers", 1...)
    epsilon = Float(try fields.float("rms_norm_eps", above: 0, default: 1e-6))
    // Two names of one function in transformers.
    guard try ["silu", "swish"].contains(fields.string("hidden_act", default: "silu")) else {
      throw fields.invalid("hidden_act", expected: "\"silu\"", code: .unimplemented)
    }
  }

  /// Builds the whole program around a family's two halves of a layer. Each gets the normed
  /// residual stream and the name before its weights, "model.layers.3.".
  func program(
    head: Weight,
    attention: (inout ProgramBuilder, _ input: ValueID, _ prefix: String) -> ValueID,
    feedForward: (inout ProgramBuilder, _ input: ValueID, _ prefix: String, _ layer: Int) -> ValueID
  ) -> Program {
    var builder = ProgramBuilder()
    var x = builder.embed(Weight("model.embed_tokens.weight", [vocabularySize, hiddenSize]))
    for layer in 0..<layerCount {
      let prefix = "model.layers.\(layer)."
      builder.layer { b in
        let normed = b.rmsNorm(x, norm(prefix + "input_layernorm"), epsilon: epsilon)
        x = b.add(x, attention(&b, normed, prefix))
        let normedAgain = b.rmsNorm(x, norm(prefix + "post_attention_layernorm"), epsilon: epsilon)
        x = b.add(x, feedForward(&b, normedAgain, prefix, layer))
      }
    }
    let outputs = builder.selectOutputs(x)
    let normed = builder.rmsNorm(outputs, norm("model.norm"), epsilon: epsilon)
    let logits = builder.linear(normed, head)
    return builder.finish(
      name: name, vocabularySize: vocabularySize, contextLength: contextLength, logits: logits)
  }

  private func norm(_ name: String) -> Weight { Weight("\(name).weight", [hiddenSize]) }
}
