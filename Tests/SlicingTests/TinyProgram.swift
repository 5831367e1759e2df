// SPDX-License-Identifier: Apache-2.0

import Program

/// Small programs of both kinds of attention; only their shape matters here.
enum TinyProgram {
  static let hidden = 8

  /// Layers of grouped attention with a gated feed-forward network.
  static func dense(layers: Int, intermediate: (Int) -> Int = { _ in 16 }) -> Program {
    var builder = ProgramBuilder()
    var hidden = builder.embed(Weight("embed", [32, Self.hidden]))
    for layer in 0..<layers {
      builder.layer { builder in
        let norm = builder.rmsNorm(hidden, Weight("\(layer).norm", [Self.hidden]), epsilon: 1e-6)
        let queries = builder.linear(norm, Weight("\(layer).q", [16, Self.hidden]))
        let keys = builder.linear(norm, Weight("\(layer).k", [8, Self.hidden]))
        let values = builder.linear(norm, Weight("\(layer).v", [12, Self.hidden]))
        let attention = builder.attention(
          queries: Columns(queries, width: 4, count: 4, stride: 4),
          keys: Columns(keys, width: 4, count: 2, stride: 4),
          values: Columns(values, width: 6, count: 2, stride: 6), scale: 0.5)
        hidden = builder.add(
          hidden, builder.linear(attention, Weight("\(layer).o", [Self.hidden, 24])))
        let width = intermediate(layer)
        let gate = builder.linear(hidden, Weight("\(layer).gate", [width, Self.hidden]))
        let up = builder.linear(hidden, Weight("\(layer).up", [width, Self.hidden]))
        hidden = builder.add(
          hidden,
          builder.linear(
            builder.swiglu(gate: gate, up: up), Weight("\(layer).down", [Self.hidden, width])))
      }
    }
    return finish(builder, hidden)
  }

  /// Layers of latent attention.
  static func latent(layers: Int) -> Program {
    var builder = ProgramBuilder()
    var hidden = builder.embed(Weight("embed", [32, Self.hidden]))
    for layer in 0..<layers {
      builder.layer { builder in
        let queries = builder.linear(hidden, Weight("\(layer).q", [2 * (6 + 4), Self.hidden]))
        let compressed = builder.linear(hidden, Weight("\(layer).kv", [10, Self.hidden]))
        let attention = builder.latentAttention(
          latentQueries: Columns(queries, width: 6, count: 2, stride: 10),
          ropeQueries: Columns(queries, offset: 6, width: 4, count: 2, stride: 10),
          latent: Columns(compressed, width: 6), ropeKey: Columns(compressed, offset: 6, width: 4),
          scale: 0.3)
        hidden = builder.add(
          hidden, builder.linear(attention, Weight("\(layer).o", [Self.hidden, 12])))
      }
    }
    return finish(builder, hidden)
  }

  private static func finish(_ builder: consuming ProgramBuilder, _ hidden: ValueID) -> Program {
    var builder = builder
    let outputs = builder.selectOutputs(hidden)
    let logits = builder.linear(outputs, Weight("head", [32, Self.hidden]))
    return builder.finish(
      name: "tiny", vocabularySize: 32, contextLength: 64, logits: logits)
  }
}
