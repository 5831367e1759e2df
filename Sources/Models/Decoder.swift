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

  /// A family's two halves of a layer. Each gets the normed residual stream and the name before
  /// its weights, "model.layers.3.".
  struct Halves {
    let attention: (inout ProgramBuilder, _ input: ValueID, _ prefix: String) -> ValueID
    let feedForward:
      (inout ProgramBuilder, _ input: ValueID, _ prefix: String, _ layer: Int) -> ValueID
  }

  /// The whole model: tokens to the logits of the next.
  func program(head: Weight, _ halves: Halves) -> Program {
    var builder = ProgramBuilder()
    var x = embedding(&builder)
    for index in 0..<layerCount { x = layer(&builder, x, index, halves) }
    let outputs = builder.selectOutputs(x)
    let normed = builder.rmsNorm(outputs, norm("model.norm"), epsilon: epsilon)
    let logits = builder.linear(normed, head)
    return finish(builder, logits: logits)
  }

  /// The layer for multi-token prediction (DeepSeek-V3's report, section 2.2): the hidden state
  /// that the model's last layer leaves at a token, and the token after it, to the logits of the
  /// one after that. Embedding and head are the model's own.
  func nextTokenProgram(head: Weight, _ halves: Halves) -> Program {
    var builder = ProgramBuilder()
    let prefix = layerPrefix(layerCount)
    let hidden = builder.hiddenInput(width: hiddenSize)
    let token = builder.rmsNorm(
      embedding(&builder), norm(prefix + "enorm"), epsilon: epsilon)
    // What the model's own head would read.
    let last = builder.rmsNorm(hidden, norm("model.norm"), epsilon: epsilon)
    let before = builder.rmsNorm(last, norm(prefix + "hnorm"), epsilon: epsilon)
    let joined = builder.linear(
      builder.join(token, before),
      Weight(prefix + "eh_proj.weight", [hiddenSize, 2 * hiddenSize]))
    let outputs = builder.selectOutputs(layer(&builder, joined, layerCount, halves))
    let normed = builder.rmsNorm(outputs, norm(prefix + "shared_head.norm"), epsilon: epsilon)
    let logits = builder.linear(normed, head)
    return finish(builder, logits: logits)
  }

  private func embedding(_ builder: inout ProgramBuilder) -> ValueID {
    builder.embed(Weight("model.embed_tokens.weight", [vocabularySize, hiddenSize]))
  }

  private func layer(
    _ builder: inout ProgramBuilder, _ input: ValueID, _ index: Int, _ halves: Halves
  ) -> ValueID {
    let prefix = layerPrefix(index)
    var x = input
    builder.layer { b in
      let normed = b.rmsNorm(x, norm(prefix + "input_layernorm"), epsilon: epsilon)
      x = b.add(x, halves.attention(&b, normed, prefix))
      let normedAgain = b.rmsNorm(x, norm(prefix + "post_attention_layernorm"), epsilon: epsilon)
      x = b.add(x, halves.feedForward(&b, normedAgain, prefix, index))
    }
    return x
  }

  private func finish(_ builder: consuming ProgramBuilder, logits: ValueID) -> Program {
    builder.finish(
      name: name, vocabularySize: vocabularySize, contextLength: contextLength, logits: logits)
  }

  private func layerPrefix(_ index: Int) -> String { "model.layers.\(index)." }

  private func norm(_ name: String) -> Weight { Weight("\(name).weight", [hiddenSize]) }
}
