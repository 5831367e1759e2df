// SPDX-License-Identifier: Apache-2.0

package import Device
package import Step
internal import Topology

/// One step on its way through the stages, with the buffers it needs on the way.
///
/// Allocated once and used for one plan after another. It belongs to one thread at a time: the
/// engine's, then each stage's in turn, then the engine's again; the rings between them order the
/// accesses.
package final class MicroBatch: @unchecked Sendable {
  package private(set) var plan = StepPlan(id: 0, tokens: [], sequences: [])
  private var outputCount = 0
  /// When the last device was done with the step, on `Clock`.
  package internal(set) var endTime: Nanoseconds = 0
  /// Why the step was not computed; its logits mean nothing then.
  package internal(set) var failure: DeviceError?
  /// Who is told on the executor's thread that the step is among the results.
  var observer: (any StepObserver)?

  /// The hidden state between two stages, `[rows, hidden]`, unless it is on a device.
  let hidden: HostBuffer
  /// Whether the next stage's device has it, in the place of this number.
  var isOnDevice = false
  let place: Int
  private let logitsBuffer: HostBuffer
  private let drawBuffer: UnsafeMutableBufferPointer<TokenDraw?>
  private let adjustmentBuffer: UnsafeMutableBufferPointer<TokenAdjustment>
  private var adjustmentCount = 0
  private let tokenBuffer: UnsafeMutableBufferPointer<Int32>
  private let reportBuffer: UnsafeMutableBufferPointer<LogitReport>
  private let vocabularySize: Int

  init(
    place: Int, hiddenCount: Int, outputCountMax: Int, vocabularySize: Int, node: Int
  ) throws(TopologyError) {
    self.place = place
    hidden = try HostBuffer(count: hiddenCount, node: node)
    logitsBuffer = try HostBuffer(count: outputCountMax * vocabularySize, node: node)
    drawBuffer = .allocate(capacity: outputCountMax)
    drawBuffer.initialize(repeating: nil)
    adjustmentBuffer = .allocate(
      capacity: TokenAdjustment.perStepMax(outputs: outputCountMax))
    tokenBuffer = .allocate(capacity: outputCountMax)
    tokenBuffer.initialize(repeating: 0)
    reportBuffer = .allocate(capacity: outputCountMax)
    reportBuffer.initialize(repeating: LogitReport())
    self.vocabularySize = vocabularySize
  }

  deinit {
    drawBuffer.deallocate()
    adjustmentBuffer.deallocate()
    tokenBuffer.deallocate()
    reportBuffer.deallocate()
  }

  /// Begins a step. `draw` is asked for each sequence whose next token is to come of it, with the
  /// room for what is done to its logits before.
  func take(
    _ plan: StepPlan,
    draw: (SequenceID, UnsafeMutableBufferPointer<TokenAdjustment>) -> TokenDraw?
  ) {
    self.plan = plan
    outputCount = 0
    adjustmentCount = 0
    for sequence in plan.sequences {
      for _ in 0..<sequence.outputCount {
        var own: TokenDraw?
        if sequence.outputs == .last { own = draw(sequence.id, adjustmentRoom) }
        own?.adjustments.first = Int32(adjustmentCount)
        adjustmentCount += Int(own?.adjustments.count ?? 0)
        drawBuffer[outputCount] = own
        outputCount += 1
      }
    }
  }

  /// For one row.
  private var adjustmentRoom: UnsafeMutableBufferPointer<TokenAdjustment> {
    UnsafeMutableBufferPointer(
      rebasing: adjustmentBuffer[adjustmentCount...].prefix(TokenAdjustment.perRowMax))
  }

  /// What the step gave for some of its outputs, in their order.
  package func outputs(_ range: Range<Int>) -> StepOutputs {
    guard let first = range.first, drawBuffer[first] != nil, let reports = reportBuffer.baseAddress
    else { return .logits(UnsafeBufferPointer(logits(of: range))) }
    return .drawn(DrawnToken(id: tokenBuffer[first], report: reports + first))
  }

  /// One for each output; nil where its logits are asked for.
  var draws: StepDraws {
    StepDraws(
      rows: UnsafeBufferPointer(rebasing: drawBuffer[..<outputCount]),
      adjustments: UnsafeBufferPointer(rebasing: adjustmentBuffer[..<adjustmentCount]))
  }

  /// What was drawn, where there is a draw.
  var tokens: UnsafeMutableBufferPointer<Int32> {
    UnsafeMutableBufferPointer(rebasing: tokenBuffer[..<outputCount])
  }

  /// What is told of logits, where a draw asks for it.
  var reports: UnsafeMutableBufferPointer<LogitReport> {
    UnsafeMutableBufferPointer(rebasing: reportBuffer[..<outputCount])
  }

  var logits: UnsafeMutableBufferPointer<Float> { logits(of: 0..<outputCount) }

  func logits(of outputs: Range<Int>) -> UnsafeMutableBufferPointer<Float> {
    let all = logitsBuffer.prefix(outputCount * vocabularySize)
    return UnsafeMutableBufferPointer(
      rebasing: all[outputs.lowerBound * vocabularySize..<outputs.upperBound * vocabularySize])
  }

  var notes: [String] { [hidden.note, logitsBuffer.note].compactMap { $0 } }
}

/// What the last stage gave for a sequence. Valid until the batch is used again.
package enum StepOutputs {
  /// `[outputs, vocabulary]`
  case logits(UnsafeBufferPointer<Float>)
  /// What the device drew.
  case drawn(DrawnToken)
}
