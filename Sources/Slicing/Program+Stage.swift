// SPDX-License-Identifier: Apache-2.0

package import Program
internal import Support

extension Program {
  /// The part of a whole model that runs some of its layers: the first part embeds, the last has
  /// the head, and between two parts flows the one value that lives across the border.
  ///
  /// Values and caches are numbered anew, so that a device keeps only what the part uses.
  ///
  /// - Parameter layers: not empty, within the model's layers.
  package func stage(layers range: Range<Int>) throws(SlicingError) -> Program {
    check(
      !range.isEmpty && range.lowerBound >= 0 && range.upperBound <= layers.count,
      "layers \(range) of \(layers.count)")
    let isFirst = range.lowerBound == 0
    let isLast = range.upperBound == layers.count
    let start = isFirst ? 0 : layers[range.lowerBound].lowerBound
    let end = isLast ? operations.count : layers[range.upperBound].lowerBound
    let input: Input = isFirst ? input : .hidden(try valueCrossing(start))
    let output: Output = isLast ? output : .hidden(try valueCrossing(end))

    var numbering = Numbering(of: self)
    var part = self
    part.input = input.renamed { numbering.name($0) }
    part.operations = operations[start..<end].map { operation in
      operation.renamed(value: { numbering.name($0) }, cache: { numbering.name($0) })
    }
    part.output = output.renamed { numbering.name($0) }
    part.layers = layers[range].map { $0.lowerBound - start..<$0.upperBound - start }
    (part.values, part.caches) = (numbering.values, numbering.caches)
    return part
  }

  /// The value that is written before the operation at `border` and read there or later: the whole
  /// of what a stage must hand on.
  package func valueCrossing(_ border: Int) throws(SlicingError) -> ValueID {
    var written = Set(operations[..<border].flatMap(\.writes))
    if case .hidden(let value) = input { written.insert(value) }
    var read = Set(operations[border...].flatMap(\.reads))
    switch output {
    case .logits(let value), .hidden(let value): read.insert(value)
    }
    let crossing = written.intersection(read)
    guard let value = crossing.first, crossing.count == 1 else {
      throw SlicingError(
        .unimplemented,
        "\(name): \(crossing.count) values live across operation \(border); a stage hands on one")
    }
    guard self[value].kind == .floats, self[value].rows == .tokens else {
      throw SlicingError(
        .unimplemented, "\(name): '\(self[value].label)' cannot be handed to another stage")
    }
    return value
  }
}

/// Gives new names in order of first use.
struct Numbering {
  private let program: Program
  private var valueNames: [ValueID: ValueID] = [:]
  private var cacheNames: [CacheID: CacheID] = [:]
  private(set) var values: [Value] = []
  private(set) var caches: [CacheShape] = []

  init(of program: Program) { self.program = program }

  mutating func name(_ value: ValueID) -> ValueID {
    if let name = valueNames[value] { return name }
    let name = ValueID(index: values.count)
    valueNames[value] = name
    values.append(program[value])
    return name
  }

  mutating func name(_ cache: CacheID) -> CacheID {
    if let name = cacheNames[cache] { return name }
    let name = CacheID(index: caches.count)
    cacheNames[cache] = name
    caches.append(program[cache])
    return name
  }
}

extension Program.Input {
  fileprivate func renamed(_ name: (ValueID) -> ValueID) -> Program.Input {
    switch self {
    case .tokens: .tokens
    case .hidden(let value): .hidden(name(value))
    }
  }
}

extension Program.Output {
  fileprivate func renamed(_ name: (ValueID) -> ValueID) -> Program.Output {
    switch self {
    case .logits(let value): .logits(name(value))
    case .hidden(let value): .hidden(name(value))
    }
  }
}
