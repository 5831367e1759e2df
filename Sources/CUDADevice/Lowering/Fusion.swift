// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// Neighbouring operations that are one launch when all of them run. The bits are those of the
/// operations one by one; only what is in between is not written.
struct Fusion {
  enum Kind {
    /// A linear, behind its norm.
    case alone
    /// Linears of one input.
    case joined
    /// Two linears of one input, and the unit in which the first opens the second.
    case gated
    /// A linear, and what is added to its output.
    case added
    /// Rotary embeddings, and the attention that they are for.
    case turned
    /// The norm of compressed keys, what makes compressed queries, rotary embeddings, the latent
    /// attention that they are for, and what each head makes of what it attended to.
    case latent
    /// A latent attention and what stands around it, for prompts in the expanded form.
    case expanded
    /// Routed experts, the shared ones, and the sums of both and of what else is added.
    case combined
  }

  var kind: Kind
  var operations: Range<Int>
  /// Whether the operation in front is the norm of its input, which nobody else reads; at few rows
  /// that is part of the launch too (`NormedLaunch`).
  var hasNorm = false

  /// All that it is made of: what one of them reads is needed until the last is done.
  var group: Range<Int> {
    hasNorm ? operations.lowerBound - 1..<operations.upperBound : operations
  }

  /// Parts of a product, and sums behind it, at most.
  private static let linearsMax = 3
  private static let addsMax = 2

  /// Those that are made of others stand behind all of these.
  static func all(of program: Program, expands: Bool) -> [Fusion] {
    let readers = program.readerCounts
    var fusions: [Fusion] = []
    var index = 0
    while index < program.operations.count {
      let found =
        program.gatedUnit(at: index, readerCounts: readers).map {
          Fusion(kind: .gated, operations: $0)
        } ?? (expands ? expanded : latent)(program, index, readers)
        ?? added(program, index, readers)
        ?? joined(program, index) ?? turned(program, index) ?? alone(program, index)
      if var found {
        found.hasNorm = isOnlyReaderOfNorm(program, found.operations, readers)
        if found.kind != .alone || found.hasNorm { fusions.append(found) }
      }
      index = found?.operations.upperBound ?? index + 1
    }
    return fusions + combined(program, fusions, readers)
  }

  /// At few rows the sum takes what experts give as they leave it, so nobody else may read their
  /// weighted sum.
  private static func combined(
    _ program: Program, _ fusions: [Fusion], _ readers: [ValueID: Int]
  ) -> [Fusion] {
    let found = Dictionary(
      fusions.map { ($0.operations.lowerBound, $0) }, uniquingKeysWith: { first, _ in first })
    return program.operations.indices.compactMap { index in
      guard case .experts(let op) = program.operations[index], readers[op.output] == 1,
        let unit = found[index + 1], unit.kind == .gated,
        let sum = found[unit.operations.upperBound], sum.kind == .added,
        case .add(let add) = program.operations[sum.operations.lowerBound + 1],
        [add.left, add.right].contains(op.output)
      else { return nil }
      return Fusion(kind: .combined, operations: index..<sum.operations.upperBound)
    }
  }

  private static func alone(_ program: Program, _ index: Int) -> Fusion? {
    linear(program, index).map { _ in Fusion(kind: .alone, operations: index..<index + 1) }
  }

  private static func isOnlyReaderOfNorm(
    _ program: Program, _ operations: Range<Int>, _ readers: [ValueID: Int]
  ) -> Bool {
    guard let first = linear(program, operations.lowerBound),
      case .rmsNorm(let norm)? = operation(program, operations.lowerBound - 1),
      norm.output == first.input
    else { return false }
    // A sum behind a linear may read it too.
    return operations.filter { linear(program, $0)?.input == norm.output }.count
      == readers[norm.output]
  }

  private static func linear(_ program: Program, _ index: Int) -> Linear? {
    guard case .linear(let op)? = operation(program, index) else { return nil }
    return op
  }

  private static func added(
    _ program: Program, _ index: Int, _ readers: [ValueID: Int]
  ) -> Fusion? {
    guard var sum = linear(program, index)?.output else { return nil }
    var end = index + 1
    while end < program.operations.count, end - index <= addsMax, readers[sum] == 1,
      case .add(let op) = program.operations[end], op.left == sum || op.right == sum
    {
      sum = op.output
      end += 1
    }
    return end == index + 1 ? nil : Fusion(kind: .added, operations: index..<end)
  }

  private static func expanded(
    _ program: Program, _ index: Int, _ readers: [ValueID: Int]
  ) -> Fusion? {
    program.latentGroup(at: index, readerCounts: readers).map {
      Fusion(kind: .expanded, operations: $0.operations)
    }
  }

  /// Nobody else may read the normed keys, the compressed queries, or what is attended to.
  private static func latent(
    _ program: Program, _ index: Int, _ readers: [ValueID: Int]
  ) -> Fusion? {
    guard case .rmsNorm(let norm)? = operation(program, index),
      case .headwiseLinear(let heads)? = operation(program, index + 1),
      let turned = turned(program, index + 2),
      case .latentAttention(let op) = program.operations[turned.operations.upperBound - 1],
      case .headwiseLinear(let values)? = operation(program, turned.operations.upperBound),
      op.latent == Columns(norm.output, width: norm.input.width),
      op.latentQueries.value == heads.output, values.input.value == op.output,
      [op.latentQueries, values.input].allSatisfy({
        $0.offset == 0 && $0.width == op.latent.width && $0.stride == $0.width
      }), op.logSumExp == nil,
      [norm.output, heads.output, op.output].allSatisfy({ readers[$0] == 1 })
    else { return nil }
    return Fusion(kind: .latent, operations: index..<turned.operations.upperBound + 1)
  }

  private static func joined(_ program: Program, _ index: Int) -> Fusion? {
    guard let first = linear(program, index) else { return nil }
    var end = index + 1
    while end - index < linearsMax, let next = linear(program, end), next.input == first.input {
      end += 1
    }
    return end == index + 1 ? nil : Fusion(kind: .joined, operations: index..<end)
  }

  /// Nobody else may read what is turned in place, since it is turned on its way only.
  private static func turned(_ program: Program, _ index: Int) -> Fusion? {
    var turns: [Columns] = []
    while case .rope(let op)? = operation(program, index + turns.count) {
      turns.append(op.columns)
    }
    let end = index + turns.count
    let readable: [Columns]
    switch operation(program, end) {
    case .attention(let op): readable = [op.queries, op.keys]
    case .latentAttention(let op): readable = [op.ropeQueries, op.ropeKey]
    default: return nil
    }
    let later = program.operations[(end + 1)...]
    guard !turns.isEmpty, Set(turns).count == turns.count,
      turns.allSatisfy({ columns in
        readable.contains(columns) && !later.contains { $0.reads.contains(columns.value) }
      })
    else { return nil }
    return Fusion(kind: .turned, operations: index..<end + 1)
  }

  private static func operation(_ program: Program, _ index: Int) -> Operation? {
    program.operations.indices.contains(index) ? program.operations[index] : nil
  }
}

extension Lowering {
  /// Makes one launch, or few, of a fusion's operations, which are lowered already; none where
  /// their matrices are kept in different formats.
  func fuse(_ fusion: Fusion) {
    switch fusion.kind {
    case .turned: return fuseTurns(fusion.operations)
    case .latent: return fuseLatent(fusion.operations)
    case .expanded: return fuseExpanded(fusion.operations)
    case .combined: return fuseCombined(fusion.operations)
    case .alone, .joined, .gated, .added: break
    }
    let members = fusion.operations.compactMap { products[$0] }
    guard let layout = members.first?.layout, var argument = members.first?.argument,
      members.allSatisfy({ $0.layout.format == layout.format }),
      case .linear(let first) = program.operations[fusion.operations.lowerBound]
    else { return }
    switch fusion.kind {
    case .joined: joinParts(members.map(\.argument.parts.0), to: &argument)
    case .gated:
      joinParts(members.map(\.argument.parts.0), to: &argument)
      argument.is_gated = 1
      if case .swiglu(let op) = program.operations[fusion.operations.upperBound - 1] {
        argument.parts.0.output = rows(op.output)
      }
    case .added: append(fusion.operations.dropFirst(), behind: first.output, to: &argument)
    case .alone, .turned, .latent, .expanded, .combined: break
    }
    let launch = productLaunch(
      argument, layout, space(of: first.output), takesMany: true,
      source: floatSource(first.input, layout))
    if fusion.kind != .alone { list.fuse(fusion.operations, [.product(launch)]) }
    if fusion.hasNorm, let normed = normed(launch, behind: fusion.group.lowerBound, argument) {
      list.fuse(fusion.group, [.normed(normed)])
    }
  }

  private func joinParts(_ parts: [cu_product_part], to argument: inout cu_product) {
    var parts = parts
    for index in parts.indices.dropFirst() {
      parts[index].tiles_end += parts[index - 1].tiles_end
    }
    argument.parts.0 = parts[0]
    argument.parts.1 = parts[1]
    if parts.count > 2 { argument.parts.2 = parts[2] }
    argument.part_count = Int32(parts.count)
  }

  private func append(
    _ adds: Range<Int>, behind output: ValueID, to argument: inout cu_product
  ) {
    var sum = output
    for (number, index) in adds.enumerated() {
      guard case .add(let op) = program.operations[index] else { continue }
      let other = op.left == sum ? op.right : op.left
      if number == 0 {
        argument.addends.0 = UnsafePointer(floats(other))
        argument.addend_strides.0 = stride(other)
      } else {
        argument.addends.1 = UnsafePointer(floats(other))
        argument.addend_strides.1 = stride(other)
      }
      sum = op.output
    }
    argument.parts.0.output = rows(sum)
  }
}
