// SPDX-License-Identifier: Apache-2.0

package import Device
internal import Glibc
package import Program
package import Step
internal import Support

/// The device of a `SyntheticModel`: it knows the next token at once, and takes its time.
///
/// The next token is a hash of all tokens of its sequence before it. The hash so far is kept for
/// each token in its place of the cache, as keys and values are: so a wrong block, a wrong position
/// or a lost step changes the answer, reused blocks serve as with any model, and a token costs the
/// same at every position. Neither batch nor chunking nor time has a part in it.
package final class SyntheticDevice: Device {
  /// What makes one token all but certain to be drawn, and still lets options change that.
  private static let certainty: Float = 1_000

  package let summary: String
  private let words: Range<Int32>
  private let vocabularySize: Int
  private var pace: StepPace
  private let wait: StepWait
  private let alarm = WakeSignal()
  private var capacity = DeviceCapacity(
    rowCountMax: 0, outputCountMax: 0, blockCount: 0, blockTokens: 1)
  /// The hash after each token of the cache: `[blocks, block tokens]`.
  private var states: UnsafeMutablePointer<UInt64>?
  private var operationCount = 0
  /// The next token of each output row of the step.
  private var outputs: [Int32] = []
  private var stepEnd: Nanoseconds?

  package init(_ model: SyntheticModel) {
    words = model.words
    vocabularySize = model.vocabularySize
    pace = StepPace(model.configuration)
    wait = model.configuration.wait
    summary = Self.summary(of: model.configuration)
  }

  deinit { free(states) }

  private static func summary(of configuration: SyntheticConfiguration) -> String {
    func text(_ rate: Double?) -> String { rate.map { "\($0)/s" } ?? "as fast as possible" }
    return
      "synthetic (tokens of \(configuration.tokenBytes) bytes, \(text(configuration.tokenRate))"
      + "; prompts \(text(configuration.prefillRate)))"
  }

  package func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    guard capacity.contextSlice == .whole, case .tokens = program.input,
      case .logits = program.output
    else {
      throw DeviceError(
        .unimplemented, "a synthetic model is cut into slices; it runs on one device only")
    }
    let count = capacity.blockCount * capacity.blockTokens
    // Zeroed, and taken from the system only as it is used.
    guard let memory = calloc(count, MemoryLayout<UInt64>.stride) else {
      throw DeviceError(
        .resourceExhausted, "no memory for a cache of \(count) tokens; expected 8 bytes for each")
    }
    states = memory.bindMemory(to: UInt64.self, capacity: count)
    self.capacity = capacity
    operationCount = program.operations.count
    outputs.reserveCapacity(capacity.outputCountMax)
  }

  package func begin(_ plan: StepPlan) {
    check(plan.rowCount <= capacity.rowCountMax, "\(plan.rowCount) rows are more than agreed")
    check(plan.outputCount <= capacity.outputCountMax, "more outputs than agreed")
    stepEnd = pace.end(of: plan, now: Clock.nowNanoseconds)
    outputs.removeAll(keepingCapacity: true)
    for sequence in plan.sequences { compute(sequence, plan.tokens) }
  }

  private func compute(_ sequence: StepSequence, _ tokens: [Int32]) {
    var position = sequence.firstPosition
    var state = position == 0 ? Self.emptyState : states?[slot(of: position - 1, sequence)] ?? 0
    for row in sequence.rows {
      state = Self.state(after: tokens[row], state)
      states?[slot(of: position, sequence)] = state
      position += 1
      let givesLogits =
        switch sequence.outputs {
        case .none: false
        case .last: row == sequence.rows.upperBound - 1
        case .all: true
        }
      if givesLogits { outputs.append(Self.token(of: state, words)) }
    }
  }

  /// Where the cache keeps a token of a sequence.
  private func slot(of position: Int, _ sequence: StepSequence) -> Int {
    let (block, offset) = position.quotientAndRemainder(dividingBy: capacity.blockTokens)
    check(
      block < sequence.blocks.count, "\(sequence.id) has no block for its position \(position)")
    let id = Int(sequence.blocks[block])
    check((0..<capacity.blockCount).contains(id), "\(sequence.id) has the block \(id)")
    return id * capacity.blockTokens + offset
  }

  /// Waits for the end of the step.
  package func run(_ operations: Range<Int>) {
    guard operations.upperBound == operationCount, let end = stepEnd else { return }
    while Clock.nowNanoseconds < end {
      if wait == .sleep { alarm.wait(until: end) }
    }
  }

  /// Logits: one token's is high, the others' are 0.
  package func read(_ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>) {
    read(value, rows: outputs.indices, into: destination)
  }

  package func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) {
    check(false, "a synthetic model has no stage before it")
  }
}

extension SyntheticDevice: TokenDrawer {
  package var drawsAtRandom: Bool { false }

  package func draw(
    _ value: ValueID, _ draws: StepDraws, into columns: UnsafeMutableBufferPointer<Int32>,
    reports: UnsafeMutableBufferPointer<LogitReport>
  ) {
    check(columns.count == outputs.count, "\(outputs.count) rows, not \(columns.count)")
    _ = columns.update(fromContentsOf: outputs)
  }

  package func read(
    _ value: ValueID, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
  ) {
    check(
      destination.count == rows.count * vocabularySize,
      "\(rows.count) rows of logits, not \(destination.count) floats")
    destination.update(repeating: 0)
    for (index, token) in outputs[rows].enumerated() {
      destination[index * vocabularySize + Int(token)] = Self.certainty
    }
  }
}

// MARK: - The model's answer

extension SyntheticDevice {
  private static let emptyState: UInt64 = 0xCBF2_9CE4_8422_2325

  /// FNV-1a, with the bits mixed down once more (splitmix64), over whole tokens.
  private static func state(after token: Int32, _ state: UInt64) -> UInt64 {
    var mixed = (state ^ UInt64(UInt32(bitPattern: token))) &* 0x100_0000_01B3
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    return mixed ^ mixed >> 27
  }

  private static func token(of state: UInt64, _ words: Range<Int32>) -> Int32 {
    words.lowerBound + Int32(state >> 33) % Int32(words.count)
  }

  /// The tokens that a model of this kind generates after a prompt, worked out without engine,
  /// batch or cache.
  package static func generate(
    _ model: SyntheticModel, prompt: [Int32], count: Int
  ) -> [Int32] {
    var state = prompt.reduce(emptyState) { Self.state(after: $1, $0) }
    return (0..<count).map { _ in
      let token = token(of: state, model.words)
      state = Self.state(after: token, state)
      return token
    }
  }
}
