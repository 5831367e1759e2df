// SPDX-License-Identifier: Apache-2.0

import Device
import Glibc
import Program
import Sampling
import Step
import Support
import Synchronization

/// A model without weights, whose next token is a hash of all tokens before it. It keeps them in
/// its cache blocks, so that a wrong block, a wrong position or a lost step changes the answer.
class FakeDevice: Device {
  /// What goes on in all devices of a test.
  final class Script: Sendable {
    let stepCount = Atomic<Int>(0)
    /// The step that throws, counted from 1; 0 for none.
    let failingStep = Atomic<Int>(0)
    let failsToLoad = Atomic<Bool>(false)
    /// While true, steps do not come to their end.
    let isHeld = Atomic<Bool>(false)
    let deviceCount = Atomic<Int>(0)
    let stepMicroseconds = Atomic<UInt32>(0)
    let rowCountMax = Atomic<Int>(0)
    /// Rows of logits that were read, and tokens that were drawn from others.
    let readCount = Atomic<Int>(0)
    let drawCount = Atomic<Int>(0)
  }

  static let vocabulary = 64

  /// The model's answer, worked out by itself.
  static func next(after tokens: some Sequence<Int32>) -> Int32 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for token in tokens { hash = (hash ^ UInt64(UInt32(bitPattern: token))) &* 0x100_0000_01b3 }
    return Int32(hash >> 33) % Int32(vocabulary)
  }

  static func generate(_ prompt: [Int32], count: Int) -> [Int32] {
    var tokens = prompt
    for _ in 0..<count { tokens.append(next(after: tokens)) }
    return Array(tokens.dropFirst(prompt.count))
  }

  /// A program of the shape that the engine needs to know.
  static func program(contextLength: Int = 512) -> Program {
    var builder = ProgramBuilder()
    var hidden = builder.embed(Weight("embed", [vocabulary, 4]))
    builder.layer { builder in
      let all = builder.all(of: hidden)
      hidden = builder.attention(queries: all, keys: all, values: all, scale: 1)
    }
    let logits = builder.linear(
      builder.selectOutputs(hidden), Weight("head", [vocabulary, 4]))
    return builder.finish(
      name: "fake", vocabularySize: vocabulary, contextLength: contextLength, logits: logits)
  }

  let summary = "fake"
  fileprivate let script: Script
  private var capacity = DeviceCapacity(
    rowCountMax: 0, outputCountMax: 0, blockCount: 0, blockTokens: 1)
  private var blocks: [[Int32]] = []
  fileprivate var outputs: [Int32] = []

  init(_ script: Script) {
    self.script = script
    script.deviceCount.add(1, ordering: .relaxed)
  }

  deinit { script.deviceCount.subtract(1, ordering: .relaxed) }

  func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    if script.failsToLoad.load(ordering: .relaxed) {
      throw DeviceError(.resourceExhausted, "the fake has no memory")
    }
    self.capacity = capacity
    blocks = Array(
      repeating: Array(repeating: -1, count: capacity.blockTokens), count: capacity.blockCount)
    progress(1)
  }

  func begin(_ plan: StepPlan) throws(DeviceError) {
    check(plan.rowCount <= capacity.rowCountMax, "\(plan.rowCount) rows")
    check(plan.outputCount <= capacity.outputCountMax, "\(plan.outputCount) outputs")
    let step = script.stepCount.add(1, ordering: .relaxed).newValue
    if script.rowCountMax.load(ordering: .relaxed) < plan.rowCount {
      script.rowCountMax.store(plan.rowCount, ordering: .relaxed)
    }
    if step == script.failingStep.load(ordering: .relaxed) {
      throw DeviceError(.internal, "the fake broke")
    }
    outputs = []
    for sequence in plan.sequences { compute(sequence, plan.tokens) }
  }

  private func compute(_ sequence: StepSequence, _ tokens: [Int32]) {
    let size = capacity.blockTokens
    for (index, row) in sequence.rows.enumerated() {
      let position = sequence.firstPosition + index
      blocks[Int(sequence.blocks[position / size])][position % size] = tokens[row]
      let isLast = row == sequence.rows.upperBound - 1
      guard sequence.outputs == .all || sequence.outputs == .last && isLast else { continue }
      let history = (0...position).lazy.map { position in
        self.blocks[Int(sequence.blocks[position / size])][position % size]
      }
      outputs.append(Self.next(after: history))
    }
  }

  func run(_ operations: Range<Int>) {
    let pause = script.stepMicroseconds.load(ordering: .relaxed)
    if pause > 0 { usleep(pause) }
    while script.isHeld.load(ordering: .relaxed) { usleep(200) }
  }

  /// One where the answer is, 0 elsewhere.
  func read(_ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>) {
    script.readCount.add(outputs.count, ordering: .relaxed)
    _ = destination.update(fromContentsOf: outputs.indices.flatMap { logits(of: $0) })
  }

  fileprivate func logits(of row: Int) -> [Float] {
    var logits = [Float](repeating: 0, count: Self.vocabulary)
    logits[Int(outputs[row])] = 1
    return logits
  }

  func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) {}
}

/// The same, far from the host: it draws tokens, all of them or those of the largest logit.
final class DrawingDevice: FakeDevice, TokenDrawer {
  let drawsAtRandom: Bool
  private var workspace = SamplingWorkspace()

  init(_ script: Script, drawsAtRandom: Bool) {
    self.drawsAtRandom = drawsAtRandom
    super.init(script)
  }

  func draw(
    _ value: ValueID, _ draws: StepDraws, into columns: UnsafeMutableBufferPointer<Int32>,
    reports: UnsafeMutableBufferPointer<LogitReport>
  ) {
    for (row, draw) in draws.rows.enumerated() {
      columns[row] = -7
      guard let draw else { continue }
      check(drawsAtRandom || draw.takesLargest && draw.isPlain, "a draw that it cannot make")
      script.drawCount.add(1, ordering: .relaxed)
      logits(of: row).withUnsafeBufferPointer { logits in
        columns[row] = workspace.draw(draw, draws.adjustments, from: logits)
        guard let count = draw.reportedCount else { return }
        reports[row] = LogitReport(of: logits, topCount: Int(count))
        if columns[row] >= 0 { reports[row].chosen = logits[Int(columns[row])] }
        if let token = draw.alternative { reports[row].alternative = logits[Int(token)] }
      }
    }
  }

  func read(
    _ value: ValueID, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
  ) {
    check(destination.count == rows.count * Self.vocabulary, "\(rows) in \(destination.count)")
    script.readCount.add(rows.count, ordering: .relaxed)
    _ = destination.update(fromContentsOf: rows.flatMap { logits(of: $0) })
  }
}

/// A checkpoint for devices that want none: every tensor is one zero.
struct NoWeights: WeightSource {
  private final class Owner: Sendable {}

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    StoredTensor(
      weight: weight, type: .float32, bytes: UnsafeRawBufferPointer(start: nil, count: 0),
      scales: nil, owner: Owner())
  }
}
