// SPDX-License-Identifier: Apache-2.0

import Support

/// Builds a program call by call, so that a model's file reads in forward order.
///
/// Every method appends one operation and returns the value it writes. Shapes are checked here:
/// a mismatch is a bug in a model's file, not an error of a user.
package struct ProgramBuilder {
  private var values: [Value] = []
  private var caches: [CacheShape] = []
  private var operations: [Operation] = []
  private var layers: [Range<Int>] = []
  private var input = Program.Input.tokens

  package init() {}

  // MARK: Operations

  package mutating func embed(_ table: Weight) -> ValueID {
    let output = value("embedding", width: table.columns)
    operations.append(.embed(Embed(table: table, output: output)))
    return output
  }

  package mutating func rmsNorm(_ input: Columns, _ weight: Weight, epsilon: Float) -> ValueID {
    check(weight.shape == [input.width], "\(weight) does not fit \(input.width) columns")
    let output = value("norm", width: input.width, rows: values[input.value.index].rows)
    operations.append(
      .rmsNorm(RMSNorm(input: input, weight: weight, epsilon: epsilon, output: output)))
    return output
  }

  package mutating func rmsNorm(_ input: ValueID, _ weight: Weight, epsilon: Float) -> ValueID {
    rmsNorm(all(of: input), weight, epsilon: epsilon)
  }

  package mutating func linear(_ input: ValueID, _ weight: Weight, bias: Weight? = nil) -> ValueID {
    check(weight.columns == width(of: input), "\(weight) does not fit \(width(of: input)) columns")
    let output = value("linear", width: weight.rows, rows: values[input.index].rows)
    operations.append(.linear(Linear(input: input, weight: weight, bias: bias, output: output)))
    return output
  }

  package mutating func headwiseLinear(
    _ input: Columns, _ weight: Weight, rowsPerHead: Int, rows: Range<Int>,
    direction: HeadwiseLinear.Direction
  ) -> ValueID {
    let (inputWidth, outputWidth) =
      direction == .rowsToColumns
      ? (rows.count, weight.columns) : (weight.columns, rows.count)
    check(input.width == inputWidth, "\(weight) does not fit heads of \(input.width) columns")
    check(weight.rows == input.count * rowsPerHead, "\(weight) does not fit \(input.count) heads")
    let output = value("headwise", width: input.count * outputWidth)
    operations.append(
      .headwiseLinear(
        HeadwiseLinear(
          input: input, weight: weight, rowsPerHead: rowsPerHead, rows: rows, direction: direction,
          output: output)))
    return output
  }

  package mutating func rope(_ columns: Columns, _ table: RopeTable, layout: Rope.Layout) {
    check(table.inverseFrequencies.count * 2 == columns.width, "rope table does not fit")
    operations.append(.rope(Rope(columns: columns, table: table, layout: layout)))
  }

  package mutating func attention(
    queries: Columns, keys: Columns, values: Columns, scale: Float
  ) -> ValueID {
    check(queries.width == keys.width && keys.count == values.count, "attention heads do not fit")
    check(queries.count % keys.count == 0, "query heads are not a multiple of key heads")
    let cache = self.cache(
      CacheShape(keyWidth: keys.count * keys.width, valueWidth: values.count * values.width))
    let output = value("attention", width: queries.count * values.width)
    operations.append(
      .attention(
        Attention(
          queries: queries, keys: keys, values: values, cache: cache, scale: scale, output: output,
          logSumExp: nil)))
    return output
  }

  package mutating func latentAttention(
    latentQueries: Columns, ropeQueries: Columns, latent: Columns, ropeKey: Columns, scale: Float
  ) -> ValueID {
    check(latentQueries.width == latent.width, "latent queries do not fit the latent")
    check(ropeQueries.width == ropeKey.width, "rope queries do not fit the rope key")
    let cache = self.cache(CacheShape(keyWidth: latent.width + ropeKey.width, valueWidth: 0))
    let output = value("latent attention", width: latentQueries.count * latent.width)
    operations.append(
      .latentAttention(
        LatentAttention(
          latentQueries: latentQueries, ropeQueries: ropeQueries, latent: latent, ropeKey: ropeKey,
          cache: cache, scale: scale, output: output, logSumExp: nil)))
    return output
  }

  package mutating func route(
    _ input: ValueID, _ weight: Weight, correctionBias: Weight? = nil, scoring: Route.Scoring,
    groups: Route.Groups? = nil, topK: Int, normalize: Bool, scale: Float
  ) -> ValueID {
    check(weight.columns == width(of: input), "\(weight) does not fit \(width(of: input)) columns")
    let output = value("routing", width: topK, kind: .routing)
    operations.append(
      .route(
        Route(
          input: input, weight: weight, correctionBias: correctionBias, scoring: scoring,
          groups: groups, topK: topK, normalize: normalize, scale: scale, output: output)))
    return output
  }

  package mutating func experts(
    _ input: ValueID, routing: ValueID, _ experts: [Experts.Expert]
  ) -> ValueID {
    let output = value("experts", width: width(of: input))
    operations.append(
      .experts(Experts(input: input, routing: routing, experts: experts, output: output)))
    return output
  }

  package mutating func swiglu(gate: ValueID, up: ValueID) -> ValueID {
    check(width(of: gate) == width(of: up), "gate and up differ in width")
    let output = value("swiglu", width: width(of: gate))
    operations.append(.swiglu(SwiGLU(gate: gate, up: up, output: output)))
    return output
  }

  package mutating func add(_ left: ValueID, _ right: ValueID) -> ValueID {
    check(width(of: left) == width(of: right), "summands differ in width")
    let output = value("sum", width: width(of: left))
    operations.append(.add(Add(left: left, right: right, output: output)))
    return output
  }

  package mutating func join(_ left: ValueID, _ right: ValueID) -> ValueID {
    let output = value("joined", width: width(of: left) + width(of: right))
    operations.append(.join(Join(left: left, right: right, output: output)))
    return output
  }

  package mutating func selectOutputs(_ input: ValueID) -> ValueID {
    let output = value("outputs", width: width(of: input), rows: .outputs)
    operations.append(.selectOutputs(SelectOutputs(input: input, output: output)))
    return output
  }

  // MARK: Structure

  /// Makes the program take a hidden state, `[tokens, width]`, beside its tokens.
  package mutating func hiddenInput(width: Int) -> ValueID {
    check(input == .tokens, "a program has one hidden input")
    let value = value("hidden", width: width)
    input = .hidden(value)
    return value
  }

  /// Runs `body` and records what it appends as one layer.
  package mutating func layer(_ body: (inout ProgramBuilder) -> Void) {
    let start = operations.count
    check(layers.last.map { $0.upperBound == start } ?? true, "operations between layers")
    body(&self)
    layers.append(start..<operations.count)
  }

  /// All columns of a value.
  package func all(of value: ValueID) -> Columns { Columns(value, width: width(of: value)) }

  package func width(of value: ValueID) -> Int { values[value.index].width }

  /// The finished program, `logits` being its result.
  package consuming func finish(
    name: String, vocabularySize: Int, contextLength: Int, logits: ValueID
  ) -> Program {
    check(width(of: logits) == vocabularySize, "logits are not as wide as the vocabulary")
    return Program(
      name: name, vocabularySize: vocabularySize, contextLength: contextLength, values: values,
      caches: caches, operations: operations, layers: layers, input: input,
      output: .logits(logits))
  }

  private mutating func value(
    _ label: String, width: Int, kind: ValueKind = .floats, rows: RowSpace = .tokens
  ) -> ValueID {
    values.append(Value(label: label, width: width, kind: kind, rows: rows))
    return ValueID(index: values.count - 1)
  }

  private mutating func cache(_ shape: CacheShape) -> CacheID {
    caches.append(shape)
    return CacheID(index: caches.count - 1)
  }
}
