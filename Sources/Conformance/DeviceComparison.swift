// SPDX-License-Identifier: Apache-2.0

package import Device
package import Program
package import Step
internal import Support

/// A device beside the reference, operation by operation: each gets the reference's inputs, those
/// of products rounded to bfloat16 for both, and keys and values to FP8 where the device keeps them
/// so, so that nothing but its own error shows.
package struct DeviceComparison {
  /// What one kind of operation was off by.
  package struct Result: Hashable, Sendable {
    package var operation: String
    /// Root mean square of the differences over that of the reference's values, of the worst
    /// operation; infinite where one wrote no number, or not all of its output.
    package var error: Float
  }

  package static let blockTokens = 16

  private let program: Program
  private let reference = ReferenceDevice()
  private let device: any Device
  private let rowCount: Int
  private let keysAreFP8: Bool

  /// Loads both. `rowCount` tokens are one sequence's.
  package init(
    _ program: Program, _ weights: any WeightSource, device: any Device, keysAreFP8: Bool = false,
    rowCount: Int
  ) throws(DeviceError) {
    self.keysAreFP8 = keysAreFP8
    self.program = program
    self.device = device
    self.rowCount = rowCount
    let capacity = Self.capacity(rowCount: rowCount)
    try reference.load(program, from: weights, capacity: capacity, progress: { _ in })
    try device.load(program, from: weights, capacity: capacity, progress: { _ in })
  }

  package static func capacity(rowCount: Int) -> DeviceCapacity {
    DeviceCapacity(
      rowCountMax: rowCount, outputCountMax: rowCount,
      blockCount: (rowCount + blockTokens - 1) / blockTokens, blockTokens: blockTokens)
  }

  /// Tokens of one sequence from a position on; its blocks lie in falling order.
  package static func plan(
    _ tokens: ArraySlice<Int32>, capacity: DeviceCapacity, outputs: OutputRows
  ) -> StepPlan {
    let sequence = StepSequence(
      id: SequenceID(1), rows: 0..<tokens.count, firstPosition: tokens.startIndex,
      blocks: (0..<Int32(capacity.blockCount)).reversed(), outputs: outputs)
    return StepPlan(id: UInt64(tokens.startIndex), tokens: Array(tokens), sequences: [sequence])
  }

  /// Runs tokens in chunks, and says how far the device is off, for each kind of operation.
  ///
  /// - Parameter begins: is told the kind and number of each operation in front of it.
  package func results(
    of tokens: [Int32], chunk: Int, begins: (String, Int) -> Void = { _, _ in }
  ) throws(DeviceError) -> [Result] {
    var results: [Result] = []
    let capacity = Self.capacity(rowCount: rowCount)
    for start in stride(from: 0, to: tokens.count, by: chunk) {
      let part = tokens[start..<min(tokens.count, start + chunk)]
      let plan = Self.plan(part, capacity: capacity, outputs: .last)
      reference.begin(plan)
      try device.begin(plan)
      for (index, operation) in program.operations.enumerated() {
        begins(operation.kind, index)
        let error = try error(of: operation, at: index, plan)
        if let known = results.firstIndex(where: { $0.operation == operation.kind }) {
          results[known].error = max(results[known].error, error)
        } else if operation.writes.contains(where: { program[$0].kind == .floats }) {
          results.append(Result(operation: operation.kind, error: error))
        }
      }
    }
    return results
  }

  private func error(
    of operation: Operation, at index: Int, _ plan: StepPlan
  ) throws(DeviceError) -> Float {
    let inputs = operation.reads.filter { program[$0].kind == .floats }
    for value in inputs {
      var floats = try read(value, of: reference, plan)
      if value == operation.productInput { floats = floats.map(\.roundedToBFloat16) }
      if keysAreFP8 {
        operation.roundCachedColumns(of: value, width: program[value].width, in: &floats)
      }
      floats.withUnsafeBufferPointer { reference.write(value, from: $0) }
      try write(floats, to: value)
    }
    let outputs = operation.writes.filter { program[$0].kind == .floats }
    for value in outputs where !inputs.contains(value) {
      try write([Float](repeating: .nan, count: count(of: value, plan)), to: value)
    }
    reference.run(index..<index + 1)
    try device.run(index..<index + 1)
    var worst: Float = 0
    for value in outputs {
      let expected = try read(value, of: reference, plan)
      worst = max(worst, Self.error(try read(value, of: device, plan), expected))
    }
    return worst
  }

  /// How far the device is off where it runs latent attention together with what stands around it:
  /// the worst group's error; nil if there is none. Of all else it runs nothing.
  package func latentGroupError(of tokens: [Int32], chunk: Int) throws(DeviceError) -> Float? {
    let groups = program.latentGroups
    if groups.isEmpty { return nil }
    let capacity = Self.capacity(rowCount: rowCount)
    var worst: Float = 0
    for start in stride(from: 0, to: tokens.count, by: chunk) {
      let part = tokens[start..<min(tokens.count, start + chunk)]
      let plan = Self.plan(part, capacity: capacity, outputs: .last)
      reference.begin(plan)
      try device.begin(plan)
      for index in program.operations.indices {
        let group = groups.first { $0.operations.contains(index) }
        if let group, index == group.operations.lowerBound { try run(group, plan) }
        reference.run(index..<index + 1)
        guard let group, index == group.operations.upperBound - 1 else { continue }
        let output = group.toValues.output
        let expected = try read(output, of: reference, plan)
        worst = max(worst, Self.error(try read(output, of: device, plan), expected))
      }
    }
    return worst
  }

  /// Runs a group on the device with the reference's inputs.
  private func run(_ group: LatentGroup, _ plan: StepPlan) throws(DeviceError) {
    let queries = group.toLatents.input.value
    for value in Set([queries, group.attention.latent.value, group.attention.ropeKey.value]) {
      var floats = try read(value, of: reference, plan)
      if value == queries { floats = floats.map(\.roundedToBFloat16) }
      if keysAreFP8 {
        Operation.latentAttention(group.attention).roundCachedColumns(
          of: value, width: program[value].width, in: &floats)
      }
      floats.withUnsafeBufferPointer { reference.write(value, from: $0) }
      try write(floats, to: value)
    }
    let output = group.toValues.output
    try write([Float](repeating: .nan, count: count(of: output, plan)), to: output)
    try device.run(group.operations)
  }

  private static func error(_ found: [Float], _ expected: [Float]) -> Float {
    var difference = 0.0
    var size = 0.0
    for (left, right) in zip(found, expected) {
      difference += Double(left - right) * Double(left - right)
      size += Double(right) * Double(right)
    }
    let error = (difference / max(size, .leastNormalMagnitude)).squareRoot()
    return error.isFinite ? Float(error) : .infinity
  }

  private func count(of value: ValueID, _ plan: StepPlan) -> Int {
    program[value].width * (program[value].rows == .tokens ? plan.rowCount : plan.outputCount)
  }

  private func read(
    _ value: ValueID, of device: any Device, _ plan: StepPlan
  ) throws(DeviceError) -> [Float] {
    var floats = [Float](repeating: 0, count: count(of: value, plan))
    let result = floats.withUnsafeMutableBufferPointer { buffer in
      Swift.Result { () throws(DeviceError) in try device.read(value, into: buffer) }
    }
    try result.get()
    return floats
  }

  private func write(_ floats: [Float], to value: ValueID) throws(DeviceError) {
    let result = floats.withUnsafeBufferPointer { buffer in
      Swift.Result { () throws(DeviceError) in try device.write(value, from: buffer) }
    }
    try result.get()
  }
}

extension Operation {
  /// Its name, as "latentAttention".
  package var kind: String {
    switch self {
    case .embed: "embed"
    case .rmsNorm: "rmsNorm"
    case .linear: "linear"
    case .headwiseLinear: "headwiseLinear"
    case .rope: "rope"
    case .attention: "attention"
    case .latentAttention: "latentAttention"
    case .route: "route"
    case .experts: "experts"
    case .swiglu: "swiglu"
    case .add: "add"
    case .join: "join"
    case .selectOutputs: "selectOutputs"
    }
  }
}
