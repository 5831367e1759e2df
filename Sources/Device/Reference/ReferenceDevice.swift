// SPDX-License-Identifier: Apache-2.0

package import Program
package import Step
internal import Support

/// The oracle: interprets a program operation by operation in 32-bit floats, one row at a time,
/// written to be read. Every other device is compared with it.
///
/// Each result depends on its own row and, in attention, on its own sequence only, and every sum
/// has one order; so a sequence's bits do not depend on batch or chunking. Single-threaded.
package final class ReferenceDevice: Device {
  package let summary = "reference (f32)"

  var program: Program?
  var weights = ReferenceWeights()
  var step = ReferenceStep()
  var caches: [FloatMatrix] = []
  /// Scores of one head's query against all keys, at most as many as the cache has tokens.
  var scores = FloatMatrix(rows: 0, width: 0)
  var capacity = DeviceCapacity(rowCountMax: 0, outputCountMax: 0, blockCount: 0, blockTokens: 1)
  private var assignment: BufferAssignment?
  private var floatBuffers: [FloatMatrix?] = []
  private var routingBuffers: [[ExpertChoice]?] = []

  package init() {}

  package func load(
    _ program: Program, from source: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    check(self.program == nil, "a device is loaded once")
    self.program = program
    self.capacity = capacity
    try weights.load(program, from: source, progress: progress)
    let assignment = BufferAssignment(program)
    self.assignment = assignment
    for buffer in assignment.buffers {
      let rows = buffer.rows == .tokens ? capacity.rowCountMax : capacity.outputCountMax
      let isFloats = buffer.kind == .floats
      floatBuffers.append(isFloats ? FloatMatrix(rows: rows, width: buffer.width) : nil)
      routingBuffers.append(
        isFloats ? nil : Array(repeating: ExpertChoice(), count: rows * buffer.width))
    }
    let tokens = capacity.blockCount * capacity.blockTokens
    caches = program.caches.map { FloatMatrix(rows: tokens, width: $0.width) }
    scores = FloatMatrix(rows: 1, width: tokens)
  }

  package func begin(_ plan: StepPlan) {
    check(plan.rowCount <= capacity.rowCountMax, "\(plan.rowCount) rows are more than agreed")
    check(plan.outputCount <= capacity.outputCountMax, "more outputs than agreed")
    for sequence in plan.sequences { checkBlocks(of: sequence) }
    step = ReferenceStep(plan)
  }

  private func checkBlocks(of sequence: StepSequence) {
    let slice = capacity.contextSlice
    let end = sequence.firstPosition + sequence.rows.count
    check(
      sequence.blocks.count * capacity.blockTokens >= end,
      "\(sequence.id) has \(sequence.blocks.count) blocks for \(end) tokens")
    for (index, block) in sequence.blocks.enumerated() where index % slice.count == slice.index {
      check(
        (0..<capacity.blockCount).contains(Int(block)),
        "\(sequence.id) has block \(block) of \(capacity.blockCount)")
    }
  }

  package func run(_ operations: Range<Int>) {
    guard let program else { return check(false, "the device is not loaded") }
    for operation in program.operations[operations] { run(operation) }
  }

  private func run(_ operation: Operation) {
    switch operation {
    case .embed(let op): embed(op)
    case .rmsNorm(let op): rmsNorm(op)
    case .linear(let op): linear(op)
    case .headwiseLinear(let op): headwiseLinear(op)
    case .rope(let op): rope(op)
    case .attention(let op): attention(op)
    case .latentAttention(let op): latentAttention(op)
    case .route(let op): route(op)
    case .experts(let op): experts(op)
    case .swiglu(let op): swiglu(op)
    case .add(let op): add(op)
    case .join(let op): join(op)
    case .selectOutputs(let op): selectOutputs(op)
    }
  }

  package func read(_ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>) {
    let source = floats(value)
    let count = rowCount(of: value) * source.width
    check(destination.count == count, "\(value) has \(count) floats, not \(destination.count)")
    destination.baseAddress?.update(from: source.row(0), count: count)
  }

  package func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) {
    let destination = floats(value)
    let count = rowCount(of: value) * destination.width
    check(source.count == count, "\(value) has \(count) floats, not \(source.count)")
    if let start = source.baseAddress { destination.row(0).update(from: start, count: count) }
  }

  // MARK: Values

  /// The rows of a value; packed at its own width.
  func floats(_ value: ValueID) -> FloatMatrix {
    guard let program, let index = assignment?[value], let buffer = floatBuffers[index] else {
      checkFailed("\(value) has no buffer of floats", file: #fileID, line: #line)
    }
    return buffer.withWidth(program[value].width)
  }

  func withRouting<R>(_ value: ValueID, _ body: (inout [ExpertChoice]) -> R) -> R {
    guard let index = assignment?[value], routingBuffers[index] != nil else {
      checkFailed("\(value) has no buffer of choices", file: #fileID, line: #line)
    }
    // Taken out and put back, so that the array is not copied when it is changed.
    var choices = routingBuffers[index].take() ?? []
    defer { routingBuffers[index] = choices }
    return body(&choices)
  }

  func rowCount(of value: ValueID) -> Int {
    guard let program else { return 0 }
    return program[value].rows == .tokens ? step.positions.count : step.outputRows.count
  }
}

/// An expert chosen for a row, and what its result is multiplied with.
struct ExpertChoice {
  var expert = 0
  var weight: Float = 0
}

/// A step, spread out to rows.
struct ReferenceStep {
  var tokens: [Int32] = []
  /// Of each row within its sequence.
  var positions: [Int] = []
  var sequences: [StepSequence] = []
  /// The rows whose logits were asked for.
  var outputRows: [Int] = []

  init() {}

  init(_ plan: StepPlan) {
    tokens = plan.tokens
    sequences = plan.sequences
    for sequence in plan.sequences {
      positions += sequence.rows.indices.map { offset in
        sequence.firstPosition + offset - sequence.rows.lowerBound
      }
      outputRows += Array(sequence.rows.suffix(sequence.outputCount))
    }
  }
}
