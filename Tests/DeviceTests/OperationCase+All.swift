// SPDX-License-Identifier: Apache-2.0

import Program

/// One or more cases for every operation that a program can have.
extension OperationCase {
  static let all: [OperationCase] = rowwise + attention + latentAttention + experts

  private static let rowwise: [OperationCase] = [
    OperationCase("embed", width: 5) { _, x in x },
    OperationCase("rmsNorm", width: 33) { b, x in b.rmsNorm(x, Weight("w", [33]), epsilon: 1e-6) },
    OperationCase("rmsNorm of some columns", width: 21) { b, x in
      b.rmsNorm(Columns(x, offset: 3, width: 13), Weight("w", [13]), epsilon: 0.1)
    },
    OperationCase("linear 7 to 13", width: 7) { b, x in b.linear(x, Weight("w", [13, 7])) },
    OperationCase("linear 64 to 96", width: 64) { b, x in b.linear(x, Weight("w", [96, 64])) },
    OperationCase("linear 130 to 3", width: 130) { b, x in b.linear(x, Weight("w", [3, 130])) },
    OperationCase("linear with bias", width: 37) { b, x in
      b.linear(x, Weight("w", [19, 37]), bias: Weight("bias", [19]))
    },
    OperationCase("headwise rows to columns", width: 3 * 9) { b, x in
      b.headwiseLinear(
        Columns(x, offset: 2, width: 5, count: 3, stride: 9), Weight("w", [3 * 12, 17]),
        rowsPerHead: 12, rows: 0..<5, direction: .rowsToColumns)
    },
    OperationCase("headwise columns to rows", width: 3 * 17) { b, x in
      b.headwiseLinear(
        Columns(x, width: 17, count: 3, stride: 17), Weight("w", [3 * 12, 17]),
        rowsPerHead: 12, rows: 5..<12, direction: .columnsToRows)
    },
    OperationCase("rope interleaved", width: 3 * 11) { b, x in
      b.rope(
        Columns(x, offset: 4, width: 6, count: 3, stride: 11), ropeTable(6), layout: .interleaved)
      return x
    },
    OperationCase("rope in halves", width: 3 * 10) { b, x in
      b.rope(Columns(x, width: 10, count: 3, stride: 10), ropeTable(10), layout: .halves)
      return x
    },
    OperationCase("swiglu", width: 35) { b, x in
      b.swiglu(gate: x, up: b.linear(x, Weight("w", [35, 35])))
    },
    OperationCase("gated unit", width: 35) { b, x in
      let gate = b.linear(x, Weight("gate", [150, 35]))
      let up = b.linear(x, Weight("up", [150, 35]))
      return b.linear(b.swiglu(gate: gate, up: up), Weight("down", [35, 150]))
    },
    OperationCase("norm of a sum", width: 35) { b, x in
      let sum = b.add(x, b.linear(x, Weight("w", [35, 35])))
      let normed = b.rmsNorm(sum, Weight("norm", [35]), epsilon: 1e-6)
      return b.add(b.linear(normed, Weight("v", [35, 35])), sum)
    },
    OperationCase("add", width: 35) { b, x in b.add(x, b.linear(x, Weight("w", [35, 35]))) },
    OperationCase("join", width: 35) { b, x in b.join(x, b.linear(x, Weight("w", [6, 35]))) },
  ]

  private static let attention: [OperationCase] = [
    (name: "one head", heads: 1, keys: 1, width: 6, values: 6),
    (name: "grouped heads", heads: 6, keys: 2, width: 10, values: 7),
    (name: "as many keys as queries", heads: 3, keys: 3, width: 16, values: 16),
    (name: "heads of 64", heads: 4, keys: 1, width: 64, values: 64),
  ].map { shape in
    attention(
      shape.name, heads: shape.heads, keys: shape.keys, width: shape.width, values: shape.values)
  }

  private static let latentAttention: [OperationCase] = [
    (heads: 1, latent: 9, rope: 4), (heads: 5, latent: 33, rope: 6),
    (heads: 4, latent: 64, rope: 16),
  ].map { latentAttention(heads: $0.heads, latent: $0.latent, rope: $0.rope) }

  /// Over several hundred keys.
  static let longAttention: [OperationCase] = [
    attention("many keys", heads: 6, keys: 2, width: 16, values: 24, lengths: [300, 70]),
    latentAttention(heads: 10, latent: 136, rope: 8, lengths: [270, 60]),
    latentAttention(heads: 40, latent: 144, rope: 4, lengths: [75, 60]),
  ]

  /// Over more keys than a part of a context has on a CPU.
  static let deepAttention: [OperationCase] = [
    attention("deep", heads: 3, keys: 1, width: 16, values: 24, lengths: [1_150, 530]),
    latentAttention(heads: 5, latent: 72, rope: 4, lengths: [1_030, 40]),
  ]

  private static func attention(
    _ name: String, heads: Int, keys keyHeads: Int, width: Int, values: Int,
    lengths: [Int] = [1, 13, 6, 50]
  ) -> OperationCase {
    OperationCase("attention, \(name)", width: 24, lengths: lengths) { b, x in
      let q = b.linear(x, Weight("q", [heads * width, 24]))
      let k = b.linear(x, Weight("k", [keyHeads * width, 24]))
      let v = b.linear(x, Weight("v", [keyHeads * values, 24]))
      let keys = Columns(k, width: width, count: keyHeads, stride: width)
      b.rope(keys, ropeTable(width), layout: .halves)
      return b.attention(
        queries: Columns(q, width: width, count: heads, stride: width), keys: keys,
        values: Columns(v, width: values, count: keyHeads, stride: values),
        scale: 3 / Float(width).squareRoot())
    }
  }

  private static func latentAttention(
    heads: Int, latent: Int, rope: Int, lengths: [Int] = [1, 13, 6, 50]
  ) -> OperationCase {
    OperationCase("latent attention, \(heads) heads over \(latent)", width: 24, lengths: lengths) {
      b, x in
      let q = b.linear(x, Weight("q", [heads * (latent + rope), 24]))
      let compressed = b.linear(x, Weight("kv", [latent + rope, 24]))
      let normed = b.rmsNorm(
        Columns(compressed, width: latent), Weight("norm", [latent]), epsilon: 1e-6)
      let ropeKey = Columns(compressed, offset: latent, width: rope)
      b.rope(ropeKey, ropeTable(rope), layout: .interleaved)
      let stride = latent + rope
      return b.latentAttention(
        latentQueries: Columns(q, width: latent, count: heads, stride: stride),
        ropeQueries: Columns(q, offset: latent, width: rope, count: heads, stride: stride),
        latent: b.all(of: normed), ropeKey: ropeKey, scale: 0.4)
    }
  }

  private static let experts: [OperationCase] = [
    routed("softmax", experts: 7, topK: 3, scoring: .softmax, scale: 16),
    routed("sigmoid, normalised", experts: 5, topK: 5, scoring: .sigmoid, normalize: true),
    routed(
      "sigmoid, normalised, with bias", experts: 5, topK: 5, scoring: .sigmoid, normalize: true,
      hasBias: true),
    routed(
      "largest of groups", experts: 12, topK: 4, scoring: .softmax,
      groups: Route.Groups(count: 4, kept: 2, score: .largest), scale: 16),
    routed(
      "two largest of groups, with bias", experts: 12, topK: 3, scoring: .sigmoid,
      groups: Route.Groups(count: 3, kept: 2, score: .twoLargest), normalize: true, hasBias: true,
      scale: 2.5),
    routed("one expert", experts: 1, topK: 1, scoring: .softmax),
    // Rows for several blocks of a router, more experts than lanes, columns for all of its warps.
    routed(
      "many rows", width: 24, experts: 70, topK: 6, scoring: .softmax, lengths: [40, 33, 64, 2]),
    routed("wide", width: 1_156, experts: 9, topK: 2, scoring: .sigmoid, lengths: [9, 1]),
    routed("very many", experts: 300, topK: 33, scoring: .sigmoid, lengths: [5, 30]),
    routed(
      "many groups", experts: 256, topK: 8, scoring: .sigmoid,
      groups: Route.Groups(count: 8, kept: 4, score: .twoLargest), normalize: true, hasBias: true,
      scale: 2.5),
  ]

  private static func routed(
    _ name: String, width: Int = 23, experts: Int, topK: Int, scoring: Route.Scoring,
    groups: Route.Groups? = nil, normalize: Bool = false, hasBias: Bool = false, scale: Float = 1,
    lengths: [Int] = [1, 9, 4, 17]
  ) -> OperationCase {
    OperationCase("experts, \(name)", width: width, lengths: lengths) { b, x in
      let routing = b.route(
        x, Weight("router", [experts, width]),
        correctionBias: hasBias ? Weight("b", [experts]) : nil,
        scoring: scoring, groups: groups, topK: topK, normalize: normalize, scale: scale)
      return b.experts(
        x, routing: routing,
        (0..<experts).map {
          Experts.Expert(
            gate: Weight("\($0).gate", [11, width]), up: Weight("\($0).up", [11, width]),
            down: Weight("\($0).down", [width, 11]))
        })
    }
  }

  private static func ropeTable(_ width: Int) -> RopeTable {
    RopeTable(inverseFrequencies: (0..<width / 2).map { 1 / Float(1 + 5 * $0) }, magnitude: 1.25)
  }
}
