// SPDX-License-Identifier: Apache-2.0

/// One step of a model's forward pass. The cases are the words of the papers; each payload's
/// comment gives its formula. Rows are independent of each other in all but attention.
package enum Operation: Hashable, Sendable {
  case embed(Embed)
  case rmsNorm(RMSNorm)
  case linear(Linear)
  case headwiseLinear(HeadwiseLinear)
  case rope(Rope)
  case attention(Attention)
  case latentAttention(LatentAttention)
  case route(Route)
  case experts(Experts)
  case swiglu(SwiGLU)
  case add(Add)
  case join(Join)
  case selectOutputs(SelectOutputs)
}

/// `output[r] = table[token[r]]`.
package struct Embed: Hashable, Sendable {
  /// `[vocabulary, hidden]`
  package var table: Weight
  package var output: ValueID
}

/// `output = input / sqrt(mean(input²) + epsilon) * weight`, over the columns of `input`.
package struct RMSNorm: Hashable, Sendable {
  /// One group of columns.
  package var input: Columns
  /// `[width]`
  package var weight: Weight
  package var epsilon: Float
  package var output: ValueID
}

/// `output = input · weightᵀ + bias`.
package struct Linear: Hashable, Sendable {
  package var input: ValueID
  /// `[output width, input width]`
  package var weight: Weight
  /// `[output width]`
  package var bias: Weight?
  package var output: ValueID
}

/// A linear map of its own for each head, over some rows of one stored weight.
///
/// The weight is `[heads * rowsPerHead, columns]`; head `h` uses `W_h`, its rows
/// `h * rowsPerHead + rows`. Multi-head latent attention folds `kv_b_proj` into queries and
/// outputs with it ("absorbed" form, DeepSeek-V2 paper section 2.1).
package struct HeadwiseLinear: Hashable, Sendable {
  package enum Direction: Hashable, Sendable {
    /// `output_h = input_h · W_h`: `rows.count` wide to `columns` wide.
    case rowsToColumns
    /// `output_h = input_h · W_hᵀ`: `columns` wide to `rows.count` wide.
    case columnsToRows
  }

  package var input: Columns
  package var weight: Weight
  package var rowsPerHead: Int
  package var rows: Range<Int>
  package var direction: Direction
  /// `[heads * output width of one head]`
  package var output: ValueID
}

/// Rotary position embedding, in place: each pair `(a, b)` of a group is turned by the angle
/// `position * inverseFrequency[pair]` and scaled by `magnitude`.
package struct Rope: Hashable, Sendable {
  package enum Layout: Hashable, Sendable {
    /// Pair `i` is columns `2i` and `2i + 1` (DeepSeek's latent attention).
    case interleaved
    /// Pair `i` is columns `i` and `i + width / 2` (Llama, Qwen2).
    case halves
  }

  package var columns: Columns
  package var table: RopeTable
  package var layout: Layout
}

/// The angles of a rotary embedding, with any context extension (YaRN, llama3) already applied.
package struct RopeTable: Hashable, Sendable {
  /// One for each pair of columns, in radians per position.
  package var inverseFrequencies: [Float]
  /// Multiplies sine and cosine (YaRN's attention factor); 1 for all shipped DeepSeek models.
  package var magnitude: Float

  package init(inverseFrequencies: [Float], magnitude: Float = 1) {
    self.inverseFrequencies = inverseFrequencies
    self.magnitude = magnitude
  }
}

/// Causal attention with grouped heads over the cache of one layer.
///
/// The keys and values of the step's tokens are first written to the cache. A token then sees
/// every key of its own sequence at or before its position that this device holds:
/// `output_h = softmax(scale · q_h · Kᵀ) · V`, query head `h` using key head
/// `h / (queries.count / keys.count)`.
package struct Attention: Hashable, Sendable {
  package var queries: Columns
  package var keys: Columns
  package var values: Columns
  package var cache: CacheID
  package var scale: Float
  /// `[query heads * value width]`
  package var output: ValueID
  /// `[query heads]`: the natural logarithm of the softmax's denominator, `-inf` where the device
  /// holds no key that the token may see (`output` is 0 there). Only context slices ask for it.
  package var logSumExp: ValueID?
}

/// Attention over compressed keys (multi-head latent attention, absorbed form).
///
/// The cache row of a token is `[latent | ropeKey]`, shared by all heads:
/// `score_h = scale · (latentQuery_h · latent + ropeQuery_h · ropeKey)`,
/// `output_h = softmax(score_h) · latent`.
package struct LatentAttention: Hashable, Sendable {
  package var latentQueries: Columns
  package var ropeQueries: Columns
  package var latent: Columns
  package var ropeKey: Columns
  package var cache: CacheID
  package var scale: Float
  /// `[heads * latent width]`
  package var output: ValueID
  /// As in `Attention`.
  package var logSumExp: ValueID?
}

/// Chooses experts for each row, in 32-bit floats whatever the precision of the rest.
///
/// `s = scoring(input · weightᵀ)`; the choice is made on `c = s + correctionBias`. With groups,
/// only the `kept` best groups stay (a group's score is its largest `c`, or the sum of its two
/// largest); experts of dropped groups count as `c = 0` (`.largest`) or `-inf` (`.twoLargest`).
/// The `topK` largest `c` win; of equal ones, the lowest index. Their weights are `s`, divided by
/// their sum (+ 1e-20) if `normalize`, times `scale`.
package struct Route: Hashable, Sendable {
  package enum Scoring: Hashable, Sendable { case softmax, sigmoid }
  package enum GroupScore: Hashable, Sendable { case largest, twoLargest }

  package struct Groups: Hashable, Sendable {
    package var count: Int
    package var kept: Int
    package var score: GroupScore

    package init(count: Int, kept: Int, score: GroupScore) {
      self.count = count
      self.kept = kept
      self.score = score
    }
  }

  package var input: ValueID
  /// `[experts, input width]`
  package var weight: Weight
  /// `[experts]`
  package var correctionBias: Weight?
  package var scoring: Scoring
  package var groups: Groups?
  package var topK: Int
  package var normalize: Bool
  package var scale: Float
  /// A `.routing` value of width `topK`.
  package var output: ValueID
}

/// `output = Σ_k weight_k · down_e(silu(gate_e(input)) * up_e(input))` over the chosen experts `e`,
/// summed in order of rank `k`.
package struct Experts: Hashable, Sendable {
  package struct Expert: Hashable, Sendable {
    /// `[intermediate, hidden]`
    package var gate: Weight
    /// `[intermediate, hidden]`
    package var up: Weight
    /// `[hidden, intermediate]`
    package var down: Weight

    package init(gate: Weight, up: Weight, down: Weight) {
      self.gate = gate
      self.up = up
      self.down = down
    }
  }

  package var input: ValueID
  package var routing: ValueID
  package var experts: [Expert]
  package var output: ValueID

  /// Columns between gate and down.
  package var intermediateWidth: Int { experts.first?.gate.shape[0] ?? 0 }
}

/// `output = silu(gate) * up`, `silu(x) = x / (1 + exp(-x))`.
package struct SwiGLU: Hashable, Sendable {
  package var gate: ValueID
  package var up: ValueID
  package var output: ValueID
}

/// `output = left + right`.
package struct Add: Hashable, Sendable {
  package var left: ValueID
  package var right: ValueID
  package var output: ValueID
}

/// `output = [left | right]`: the columns of both, side by side.
package struct Join: Hashable, Sendable {
  package var left: ValueID
  package var right: ValueID
  package var output: ValueID
}

/// Keeps the rows whose logits were asked for, in order.
package struct SelectOutputs: Hashable, Sendable {
  package var input: ValueID
  /// A value in the row space `.outputs`.
  package var output: ValueID
}
