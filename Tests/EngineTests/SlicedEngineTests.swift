// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Device
import Engine
import Executor
import Models
import Program
import Step
import Support
import TestSupport
import Testing
import Topology

/// Whole models through the engine, cut in every way: slices must not show.
struct SlicedEngineTests {
  private func start(
    _ program: Program, _ weights: any WeightSource = RandomWeights(),
    _ configure: (inout EngineConfiguration) -> Void
  ) throws -> Engine {
    var configuration = EngineConfiguration()
    configuration.blockTokens = 4
    configuration.rowCountMax = 16
    configuration.outputCountMax = 16
    configuration.batchMax = 8
    configure(&configuration)
    return try Engine.start(
      program, from: weights, devices: { _ throws(DeviceError) in ReferenceDevice() },
      configuration: configuration, topology: Topology.current())
  }

  private func tokens(_ seed: UInt64, count: Int, below bound: Int) -> [Int32] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { _ in Int32.random(in: 0..<Int32(bound), using: &random) }
  }

  private func logits(
    _ program: Program, _ weights: any WeightSource, of tokens: [Int32], stages: Int, slices: Int
  ) throws -> [Float] {
    let engine = try start(program, weights) {
      $0.stages = stages
      $0.contextSlices = slices
    }
    defer { engine.shutdown() }
    return try engine.logits(of: tokens)
  }

  private func largestDifference(_ left: [Float], _ right: [Float]) -> Float {
    zip(left, right).reduce(0) { max($0, abs($1.0 - $1.1)) }
  }

  /// Each stage waits for the one behind it to say how it takes values.
  @Test(arguments: 0..<3)
  func aStageThatCannotLoadEndsTheStart(_ failing: Int) throws {
    var configuration = EngineConfiguration()
    configuration.stages = 3
    let model = try #require(RandomModel.allCases.first)
    let error = #expect(throws: EngineError.self) {
      try Engine.start(
        model.program, from: RandomWeights(),
        devices: { (seat) throws(DeviceError) in
          if seat.stage == failing { throw DeviceError(.unavailable, "stage \(failing) is gone") }
          return ReferenceDevice()
        }, configuration: configuration, topology: Topology.current())
    }
    #expect(error?.message == "stage \(failing) is gone")
  }

  @Test(arguments: RandomModel.allCases)
  func slicesGiveTheLogitsOfTheWhole(_ model: RandomModel) throws {
    let (program, weights) = (model.program, RandomWeights())
    let tokens = tokens(1, count: 37, below: RandomModel.vocabulary)
    let whole = try logits(program, weights, of: tokens, stages: 1, slices: 1)
    #expect(whole.allSatisfy(\.isFinite) && Set(whole).count > 1000)
    for stages in [2, 4, 8] {
      #expect(try logits(program, weights, of: tokens, stages: stages, slices: 1) == whole)
    }
    for (stages, slices) in [(1, 2), (1, 8), (2, 2), (4, 3), (8, 2)] {
      let sliced = try logits(program, weights, of: tokens, stages: stages, slices: slices)
      #expect(largestDifference(sliced, whole) < 1e-5)
    }
  }

  @Test func theBundledModelGivesTheSameLogitsInSlices() throws {
    let checkpoint = try Checkpoint(directory: Repository.path("Models/tiny-deepseek-v3"))
    let program = try Model.program(for: checkpoint)
    let tokens = tokens(2, count: 21, below: 500)
    let whole = try logits(program, checkpoint, of: tokens, stages: 1, slices: 1)
    let stages = program.layers.count
    #expect(try logits(program, checkpoint, of: tokens, stages: stages, slices: 1) == whole)
    let both = try logits(program, checkpoint, of: tokens, stages: 2, slices: 2)
    // Relative to the largest logit: each layer's softmax rounds differently.
    let scale = whole.reduce(1) { max($0, abs($1)) }
    #expect(largestDifference(both, whole) < 1e-5 * scale)
  }

  @Test(arguments: RandomModel.allCases)
  func greedyIdsDoNotDependOnBatchChunkOrSlices(_ model: RandomModel) throws {
    let program = model.program
    let prompts = (0..<8).map {
      tokens(UInt64(10 + $0), count: 5 + 6 * $0, below: RandomModel.vocabulary)
    }
    let alone = try generate(program, prompts) { $0.batchMax = 1 }
    #expect(alone.allSatisfy { $0.count == 12 })
    #expect(Set(alone.joined()).count > 20)
    let configurations: [(inout EngineConfiguration) -> Void] = [
      { $0.rowCountMax = 1 },
      { $0.rowCountMax = 7 },
      { $0.rowCountMax = 256 },
      { $0.stages = 2 },
      { ($0.stages, $0.rowCountMax) = (8, 5) },
      { $0.contextSlices = 2 },
      { ($0.contextSlices, $0.batchMax) = (8, 3) },
      { ($0.stages, $0.contextSlices) = (4, 2) },
    ]
    for configure in configurations { #expect(try generate(program, prompts, configure) == alone) }
  }

  private func generate(
    _ program: Program, _ prompts: [[Int32]], _ configure: (inout EngineConfiguration) -> Void
  ) throws -> [[Int32]] {
    let engine = try start(program, RandomWeights(), configure)
    defer { engine.shutdown() }
    let recorder = Recorder()
    let ids = try prompts.map { try engine.submit(.greedy($0, tokens: 12), to: recorder) }
    let answers = ids.map { recorder.finished($0).tokens }
    waitUntil { engine.load().kvBlocksUsed == 0 }
    #expect(engine.load().kvBlocksUsed == 0)
    return answers
  }

  @Test func seededSamplingDoesNotDependOnWhatElseRuns() throws {
    let program = RandomModel.dense.program
    func sample(batch: Int, stages: Int) throws -> [[Int32]] {
      let engine = try start(program) { ($0.batchMax, $0.stages) = (batch, stages) }
      defer { engine.shutdown() }
      let recorder = Recorder()
      let ids = try (0..<6).map { index in
        var submission = SequenceSubmission(
          prompt: tokens(3, count: 9, below: RandomModel.vocabulary))
        submission.sampling.seed = 5
        submission.sampling.choice = UInt32(index)
        submission.stopping.maxTokens = 10
        return try engine.submit(submission, to: recorder)
      }
      return ids.map { recorder.finished($0).tokens }
    }
    let alone = try sample(batch: 1, stages: 1)
    #expect(Set(alone).count == 6)
    #expect(try sample(batch: 6, stages: 1) == alone)
    #expect(try sample(batch: 4, stages: 4) == alone)
  }

  @Test func aFailureInTheMiddleOfThePipelineEndsEverySequence() throws {
    for (failing, stages, slices) in [(1, 3, 1), (2, 3, 1), (1, 1, 2), (3, 2, 2)] {
      var configuration = EngineConfiguration()
      (configuration.stages, configuration.contextSlices) = (stages, slices)
      let engine = try Engine.start(
        RandomModel.dense.program, from: RandomWeights(),
        devices: { seat throws(DeviceError) in
          seat.index == failing ? BrittleDevice() as any Device : ReferenceDevice()
        },
        configuration: configuration, topology: Topology.current())
      let recorder = Recorder()
      let ids = try (0..<5).map {
        try engine.submit(.greedy([Int32($0), 2, 3], tokens: 40), to: recorder)
      }
      for id in ids {
        guard case .failed(let error) = recorder.finished(id).reasons.first else {
          Issue.record("\(id) ended with \(recorder.outcome(id).reasons)")
          continue
        }
        #expect(error.message == "a device failed: it broke in its run")
      }
      #expect(waitUntil { engine.load().executors.allSatisfy { !$0.isBusy } })
      #expect(engine.load().kvBlocksUsed == 0)
      engine.shutdown()
    }
  }
}

/// The reference, until it breaks.
private final class BrittleDevice: Device {
  let summary = "brittle"
  private let device = ReferenceDevice()
  private var runCount = 0

  func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    try device.load(program, from: weights, capacity: capacity, progress: progress)
  }

  func begin(_ plan: StepPlan) { device.begin(plan) }

  func run(_ operations: Range<Int>) throws(DeviceError) {
    runCount += 1
    if runCount > 20 { throw DeviceError(.internal, "it broke in its run") }
    device.run(operations)
  }

  func read(_ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>) {
    device.read(value, into: destination)
  }

  func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) {
    device.write(value, from: source)
  }
}
