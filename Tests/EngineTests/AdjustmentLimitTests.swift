// SPDX-License-Identifier: Apache-2.0

import Device
import Engine
import Program
import Sampling
import Step
import Support
import Synchronization
import TestSupport
import Testing
import Topology

/// Rows with more adjustments than go to a device: the host draws from them.
struct AdjustmentLimitTests {
  /// Tokens of one step of some sequences, each with so many biases; and how many of them the
  /// device has drawn.
  private func generate(
    biases: [Int], outputs: Int
  ) throws -> (tokens: [[Int32]], drawn: Int) {
    let log = WideDevice.Log()
    var configuration = EngineConfiguration()
    configuration.batchMax = 4
    configuration.outputCountMax = outputs
    let engine = try Engine.start(
      WideDevice.program, from: NoWeights(),
      devices: { _ throws(DeviceError) in WideDevice(log) }, configuration: configuration,
      topology: Topology.current())
    defer { engine.shutdown() }
    let recorder = Recorder()
    let choices = biases.map { count in
      var submission = SequenceSubmission.greedy([1], tokens: 1)
      submission.sampling.logitBias = (0..<count).map {
        TokenBias(token: Int32($0), bias: $0 == count - 1 ? 9 : -1)
      }
      return (id: engine.makeID(), submission: submission)
    }
    try engine.submit(choices: choices, to: recorder)
    return (choices.map { recorder.finished($0.id).tokens }, log.drawCount.load(ordering: .relaxed))
  }

  @Test func `a row with too many is drawn from on the host`() throws {
    let most = TokenAdjustment.perRowMax
    let full = try generate(biases: [most], outputs: 32)
    #expect(full.tokens == [[Int32(most - 1)]] && full.drawn == 1)
    let over = try generate(biases: [most + 1], outputs: 32)
    #expect(over.tokens == [[Int32(most)]] && over.drawn == 0)
  }

  @Test func `a step has room for so many`() throws {
    #expect(TokenAdjustment.perStepMax(outputs: 4) == TokenAdjustment.perRowMax)
    #expect(TokenAdjustment.perStepMax(outputs: 32) == 131_072)
    #expect(TokenAdjustment.perStepMax(outputs: 4_096) == 1 << 20)
    // The third does not fit beside the others, the fourth does.
    let result = try generate(biases: [9_000, 7_000, 500, 384], outputs: 4)
    #expect(result.tokens == [[8_999], [6_999], [499], [383]] && result.drawn == 3)
  }
}

/// A device with a large vocabulary, whose logits are all 0.
private final class WideDevice: TokenDrawer {
  final class Log: Sendable {
    let drawCount = Atomic<Int>(0)
  }

  private static let vocabulary = 17_000
  static var program: Program {
    var builder = ProgramBuilder()
    var hidden = builder.embed(Weight("embed", [vocabulary, 1]))
    builder.layer { builder in
      let all = builder.all(of: hidden)
      hidden = builder.attention(queries: all, keys: all, values: all, scale: 1)
    }
    let logits = builder.linear(
      builder.selectOutputs(hidden), Weight("head", [vocabulary, 1]))
    return builder.finish(
      name: "wide", vocabularySize: vocabulary, contextLength: 64, logits: logits)
  }

  let summary = "wide"
  let drawsAtRandom = true
  private let log: Log
  private var workspace = SamplingWorkspace()

  init(_ log: Log) { self.log = log }

  func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) {}

  func begin(_ plan: StepPlan) {}
  func run(_ operations: Range<Int>) {}
  func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) {}

  func read(_ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>) {
    destination.update(repeating: 0)
  }

  func read(
    _ value: ValueID, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
  ) {
    destination.update(repeating: 0)
  }

  func draw(
    _ value: ValueID, _ draws: StepDraws, into columns: UnsafeMutableBufferPointer<Int32>,
    reports: UnsafeMutableBufferPointer<LogitReport>
  ) {
    let zeros = [Float](repeating: 0, count: Self.vocabulary)
    for case (let row, let draw?) in draws.rows.enumerated() {
      log.drawCount.add(1, ordering: .relaxed)
      columns[row] = zeros.withUnsafeBufferPointer {
        workspace.draw(draw, draws.adjustments, from: $0)
      }
    }
  }
}
