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
    /// A latent attention and what stands around it, for prompts in the expanded form.
    case expanded
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

  static func all(of program: Program, expands: Bool) -> [Fusion] {
    let readers = program.readerCounts
    var fusions: [Fusion] = []
    var index = 0
    while index < program.operations.count {
      let found =
        program.gatedUnit(at: index, readerCounts: readers).map {
          Fusion(kind: .gated, operations: $0)
        } ?? (expands ? expanded(program, index, readers) : nil) ?? added(program, index, readers)
        ?? joined(program, index) ?? turned(program, index) ?? alone(program, index)
      if var found {
        found.hasNorm = isOnlyReaderOfNorm(program, found.operations, readers)
        if found.kind != .alone || found.hasNorm { fusions.append(found) }
      }
      index = found?.operations.upperBound ?? index + 1
    }
    return fusions
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
  /// Makes one launch of a fusion's operations, which are lowered already; none where their
  /// matrices are kept in different formats.
  func fuse(_ fusion: Fusion) {
    if case .turned = fusion.kind { return fuseTurns(fusion.operations) }
    if case .expanded = fusion.kind { return fuseExpanded(fusion.operations) }
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
    case .alone, .turned, .expanded: break
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
