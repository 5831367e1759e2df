// SPDX-License-Identifier: Apache-2.0

import Program
import TestSupport
import Testing

/// Small models with random weights, deep enough to be cut into eight stages.
enum RandomModel: String, CaseIterable, CustomTestStringConvertible {
  /// Grouped heads, rope in halves, a gated feed-forward network.
  case dense
  /// Compressed keys in absorbed form, interleaved rope, routed experts.
  case latent

  static let layers = 8
  static let vocabulary = 96
  private static let hidden = 32

  var testDescription: String { rawValue }

  var program: Program {
    var builder = ProgramBuilder()
    var hidden = builder.embed(Weight("embed", [Self.vocabulary, Self.hidden]))
    for layer in 0..<Self.layers {
      builder.layer { builder in
        let norm = builder.rmsNorm(hidden, Weight("\(layer).norm", [Self.hidden]), epsilon: 1e-6)
        let attention =
          self == .dense
          ? Self.groupedAttention(&builder, norm, layer)
          : Self.latentAttention(&builder, norm, layer)
        hidden = builder.add(hidden, attention)
        let middle = builder.rmsNorm(
          hidden, Weight("\(layer).norm2", [Self.hidden]), epsilon: 1e-6)
        let rest =
          self == .dense
          ? Self.gated(&builder, middle, layer) : Self.routed(&builder, middle, layer)
        hidden = builder.add(hidden, rest)
      }
    }
    let outputs = builder.rmsNorm(
      builder.selectOutputs(hidden), Weight("norm", [Self.hidden]), epsilon: 1e-6)
    let logits = builder.linear(outputs, Weight("head", [Self.vocabulary, Self.hidden]))
    return builder.finish(
      name: rawValue, vocabularySize: Self.vocabulary, contextLength: 256, logits: logits)
  }

  private static func groupedAttention(
    _ builder: inout ProgramBuilder, _ input: ValueID, _ layer: Int
  ) -> ValueID {
    let queries = builder.linear(input, Weight("\(layer).q", [4 * 8, hidden]))
    let keys = builder.linear(input, Weight("\(layer).k", [2 * 8, hidden]))
    let values = builder.linear(input, Weight("\(layer).v", [2 * 8, hidden]))
    let queryHeads = Columns(queries, width: 8, count: 4, stride: 8)
    let keyHeads = Columns(keys, width: 8, count: 2, stride: 8)
    builder.rope(queryHeads, ropeTable(width: 8), layout: .halves)
    builder.rope(keyHeads, ropeTable(width: 8), layout: .halves)
    let attention = builder.attention(
      queries: queryHeads, keys: keyHeads,
      values: Columns(values, width: 8, count: 2, stride: 8), scale: 0.35)
    return builder.linear(attention, Weight("\(layer).o", [hidden, 4 * 8]))
  }

  /// 4 heads of 8 + 4 columns over a latent of 16.
  private static func latentAttention(
    _ builder: inout ProgramBuilder, _ input: ValueID, _ layer: Int
  ) -> ValueID {
    let queries = builder.linear(input, Weight("\(layer).q", [4 * 12, hidden]))
    let compressed = builder.linear(input, Weight("\(layer).kv_a", [16 + 4, hidden]))
    let latent = builder.rmsNorm(
      Columns(compressed, width: 16), Weight("\(layer).kv_norm", [16]), epsilon: 1e-6)
    let ropeQueries = Columns(queries, offset: 8, width: 4, count: 4, stride: 12)
    let ropeKey = Columns(compressed, offset: 16, width: 4)
    builder.rope(ropeQueries, ropeTable(width: 4), layout: .interleaved)
    builder.rope(ropeKey, ropeTable(width: 4), layout: .interleaved)
    let expand = Weight("\(layer).kv_b", [4 * (8 + 6), 16])
    let absorbed = builder.headwiseLinear(
      Columns(queries, width: 8, count: 4, stride: 12), expand, rowsPerHead: 14, rows: 0..<8,
      direction: .rowsToColumns)
    let attention = builder.latentAttention(
      latentQueries: Columns(absorbed, width: 16, count: 4, stride: 16), ropeQueries: ropeQueries,
      latent: builder.all(of: latent), ropeKey: ropeKey, scale: 0.3)
    let values = builder.headwiseLinear(
      Columns(attention, width: 16, count: 4, stride: 16), expand, rowsPerHead: 14, rows: 8..<14,
      direction: .columnsToRows)
    return builder.linear(values, Weight("\(layer).o", [hidden, 4 * 6]))
  }

  private static func gated(
    _ builder: inout ProgramBuilder, _ input: ValueID, _ layer: Int
  ) -> ValueID {
    let gate = builder.linear(input, Weight("\(layer).gate", [48, hidden]))
    let up = builder.linear(input, Weight("\(layer).up", [48, hidden]))
    return builder.linear(
      builder.swiglu(gate: gate, up: up), Weight("\(layer).down", [hidden, 48]))
  }

  private static func routed(
    _ builder: inout ProgramBuilder, _ input: ValueID, _ layer: Int
  ) -> ValueID {
    let routing = builder.route(
      input, Weight("\(layer).router", [6, hidden]), scoring: .sigmoid, topK: 2, normalize: true,
      scale: 1.5)
    return builder.experts(
      input, routing: routing,
      (0..<6).map { expert in
        Experts.Expert(
          gate: Weight("\(layer).\(expert).gate", [16, hidden]),
          up: Weight("\(layer).\(expert).up", [16, hidden]),
          down: Weight("\(layer).\(expert).down", [hidden, 16]))
      })
  }

  private static func ropeTable(width: Int) -> RopeTable {
    RopeTable(inverseFrequencies: (0..<width / 2).map { 1 / Float(1 + 7 * $0) })
  }
}

/// Weights that are random and the same in every run.
final class RandomWeights: WeightSource {
  private final class Storage: Sendable {
    nonisolated(unsafe) let floats: UnsafeMutableBufferPointer<Float>

    init(_ weight: Weight) {
      let seed = weight.name.utf8.reduce(UInt64(1469)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
      var random = SeededGenerator(seed: seed)
      floats = .allocate(capacity: weight.elementCount)
      // Norms around one; matrices that keep the size of what they map.
      let isNorm = weight.shape.count == 1
      let bound: Float = isNorm ? 0.2 : 1.7 / Float(weight.columns).squareRoot()
      for index in floats.indices {
        floats.initializeElement(
          at: index, to: (isNorm ? 1 : 0) + Float.random(in: -bound...bound, using: &random))
      }
    }

    deinit { floats.deallocate() }
  }

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    let storage = Storage(weight)
    return StoredTensor(
      weight: weight, type: .float32, bytes: UnsafeRawBufferPointer(storage.floats), scales: nil,
      owner: storage)
  }
}
