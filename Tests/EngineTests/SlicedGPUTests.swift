// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Conformance
import Device
import Engine
import Executor
import Program
import Step
import Support
import TestSupport
import Testing
import Topology

/// Keys in slices on emulated GPUs, which exchange without the host: how shows in no bit.
struct SlicedGPUTests {
  /// How a model is spread, and over which GPUs, by turns.
  struct Spread: Sendable, CustomTestStringConvertible {
    var slices: Int
    var stages = 1
    var gpus = [0, 1]
    /// What is said of the way, in part.
    var words: [String]

    var testDescription: String { "\(slices) slices, \(stages) stages on \(gpus)" }
  }

  private static let spreads = [
    Spread(slices: 2, words: ["slices of stage 0: from cuda:0 to cuda:1, without the host"]),
    Spread(slices: 2, gpus: [1], words: ["stage 0: within cuda:1, without the host"]),
    Spread(slices: 3, words: ["stage 0: from cuda:0 to cuda:1, within cuda:0, without the host"]),
    Spread(
      slices: 3, stages: 2,
      words: [
        "slices of stage 0: from cuda:0 to cuda:1, within cuda:0, without the host",
        "slices of stage 1: from cuda:1 to cuda:0, within cuda:1, without the host",
        "stages 0 and 1: from cuda:0 to cuda:1, without the host",
      ]),
  ]

  private func start(
    _ model: RandomModel, _ spread: Spread, rows: Int = 16, precision: CUDAPrecision = .auto,
    steps: CUDASteps = .graphs,
    wrap: @escaping @Sendable (DeviceSeat, CUDADevice) -> any Device = { $1 }
  ) throws -> Engine {
    var configuration = EngineConfiguration()
    (configuration.stages, configuration.contextSlices) = (spread.stages, spread.slices)
    (configuration.rowCountMax, configuration.outputCountMax) = (rows, max(rows, 8))
    (configuration.blockTokens, configuration.batchMax) = (4, 8)
    return try Engine.start(
      model.program, from: RandomWeights(),
      devices: { seat throws(DeviceError) in
        let device = try CUDADevice(
          CUDADeviceConfiguration(
            gpu: spread.gpus[seat.index % spread.gpus.count], precision: precision,
            driverPath: EmulatedGPU.driverPath, kernelPath: EmulatedGPU.kernelPath,
            steps: steps))
        return wrap(seat, device)
      }, configuration: configuration, topology: Topology.current())
  }

  private func tokens(_ seed: UInt64, count: Int) -> [Int32] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { _ in
      Int32.random(in: 0..<Int32(RandomModel.vocabulary), using: &random)
    }
  }

  private func byHost(_ seat: DeviceSeat, _ device: CUDADevice) -> any Device {
    HostBoundDevice(device)
  }

  @Test(arguments: RandomModel.allCases, spreads)
  func `without the host there are the bits that it gives`(
    model: RandomModel, spread: Spread
  ) throws {
    let tokens = tokens(1, count: 37)
    let host = try start(model, spread, steps: .kernels, wrap: byHost)
    defer { host.shutdown() }
    #expect(host.deviceNotes.isEmpty)
    let expected = try host.logits(of: tokens)
    #expect(expected.allSatisfy(\.isFinite) && Set(expected).count > 1000)
    for rows in [5, 64] {
      let engine = try start(model, spread, rows: rows)
      defer { engine.shutdown() }
      for words in spread.words {
        #expect(engine.deviceNotes.contains { $0.hasSuffix(words) }, "\(engine.deviceNotes)")
      }
      let logits = try engine.logits(of: tokens)
      #expect(logits.map(\.bitPattern) == expected.map(\.bitPattern), "\(rows) rows")
    }
  }

  /// Chunks of 1, 3, 11 and 20 rows: buckets of graphs with rows to spare and without, some used
  /// again; what is between two exchanges of a layer is a graph of its own.
  @Test(arguments: RandomModel.allCases)
  func `graphs between exchanges change no bit`(model: RandomModel) throws {
    let spread = Spread(slices: 3, stages: 2, words: [])
    let tokens = tokens(6, count: 31)
    let kernels = try start(model, spread, steps: .kernels)
    defer { kernels.shutdown() }
    let expected = try kernels.logits(of: tokens)
    #expect(expected.allSatisfy(\.isFinite) && Set(expected).count > 1000)
    for rows in [1, 3, 11, 20] {
      let graphs = try start(model, spread, rows: rows)
      defer { graphs.shutdown() }
      let logits = try graphs.logits(of: tokens)
      #expect(logits.map(\.bitPattern) == expected.map(\.bitPattern), "\(rows) rows")
    }
  }

  /// What is behind attention reads its output as codes.
  @Test func `codes are made of what was merged`() throws {
    let (spread, tokens) = (Spread(slices: 2, words: []), tokens(5, count: 19))
    let host = try start(.dense, spread, precision: .w8a8, wrap: byHost)
    defer { host.shutdown() }
    let direct = try start(.dense, spread, precision: .w8a8)
    defer { direct.shutdown() }
    let expected = try host.logits(of: tokens)
    #expect(try direct.logits(of: tokens).map(\.bitPattern) == expected.map(\.bitPattern))
    #expect(Set(expected).count > 1000)
  }

  /// As far as attention's output, a bfloat16, may be off in eight layers; a row is further where
  /// that, in it or before it, has chosen another expert.
  @Test(arguments: RandomModel.allCases)
  func `slices are the whole`(model: RandomModel) throws {
    let tokens = tokens(2, count: 29)
    let logits = try [1, 3].map { slices in
      let engine = try start(model, Spread(slices: slices, words: []))
      defer { engine.shutdown() }
      return try engine.logits(of: tokens)
    }
    let square = { (floats: [Float]) in floats.reduce(0) { $0 + $1 * $1 } }
    let errors = tokens.indices.map { row in
      let columns = row * RandomModel.vocabulary..<(row + 1) * RandomModel.vocabulary
      let (whole, sliced) = (Array(logits[0][columns]), Array(logits[1][columns]))
      return (square(zip(whole, sliced).map { $0 - $1 }) / square(whole)).squareRoot()
    }.sorted()
    #expect(errors[tokens.count / 3] < 2e-2, "\(errors)")
    if model == .dense { #expect(errors.allSatisfy { $0 < 2e-2 }, "\(errors)") }
    #expect(logits[0] != logits[1])
  }

  private func generate(
    _ model: RandomModel, _ spread: Spread, batch: Int
  ) throws -> [[Int32]] {
    let engine = try start(model, spread)
    defer { engine.shutdown() }
    let recorder = Recorder()
    var answers: [[Int32]] = []
    let prompts = (0..<6).map { tokens(UInt64(10 + $0), count: 3 + 5 * $0) }
    for first in stride(from: 0, to: prompts.count, by: batch) {
      let ids = try prompts[first..<min(first + batch, prompts.count)].map {
        try engine.submit(.greedy($0, tokens: 8), to: recorder)
      }
      answers += ids.map { recorder.finished($0).tokens }
    }
    return answers
  }

  @Test(arguments: RandomModel.allCases)
  func `a sequence's tokens do not depend on what else runs`(model: RandomModel) throws {
    let alone = try generate(model, Spread(slices: 2, words: []), batch: 1)
    #expect(alone.allSatisfy { $0.count == 8 } && Set(alone).count == 6)
    #expect(try generate(model, Spread(slices: 2, words: []), batch: 6) == alone)
    #expect(try generate(model, Spread(slices: 2, stages: 3, words: []), batch: 6) == alone)
  }

  /// One device that cannot be reached is enough, whichever way.
  @Test(arguments: [0, 1, 2])
  func `where one cannot be reached all exchange through the host`(unreached: Int) throws {
    let spread = Spread(slices: 3, words: [])
    let tokens = tokens(3, count: 23)
    let direct = try start(.dense, spread)
    defer { direct.shutdown() }
    let engine = try start(.dense, spread) { seat, device in
      guard seat.index == unreached else { return device }
      let faulty = FaultyPeer(device)
      faulty.path = .host("it is too far away")
      return faulty
    }
    defer { engine.shutdown() }
    #expect(
      engine.deviceNotes == [
        "context slices of stage 0: through the host, since it is too far away"
      ])
    let logits = try engine.logits(of: tokens)
    #expect(try direct.logits(of: tokens).map(\.bitPattern) == logits.map(\.bitPattern))
  }

  @Test func `where one takes values from the host only all exchange through it`() throws {
    let engine = try start(.latent, Spread(slices: 3, words: [])) { seat, device in
      seat.index == 2 ? HostBoundDevice(device) as any Device : device
    }
    defer { engine.shutdown() }
    #expect(
      engine.deviceNotes == [
        "context slices of stage 0: through the host, since slice 2 takes values from there only"
      ])
    #expect(try engine.logits(of: tokens(4, count: 9)).allSatisfy(\.isFinite))
  }

  // MARK: Failures

  /// What fails, and whose it is: the leader is 0.
  private static let failures: [(FaultyPeer.Call, Int)] = [
    (.begin, 0), (.begin, 2), (.send, 0), (.send, 1), (.receive, 2), (.run, 0), (.run, 1),
    (.merge, 0),
  ]

  @Test(arguments: failures)
  func `a device that fails in a step ends it, and nobody waits for that device`(
    call: FaultyPeer.Call, index: Int
  ) throws {
    let engine = try start(.dense, Spread(slices: 3, words: [])) { seat, device in
      guard seat.index == index else { return device }
      let faulty = FaultyPeer(device)
      // In a layer in the middle.
      faulty.fault = (call, call == .begin ? 1 : 12)
      return faulty
    }
    let recorder = Recorder()
    let ids = try (0..<3).map {
      try engine.submit(.greedy([Int32($0), 2, 3], tokens: 40), to: recorder)
    }
    for id in ids {
      guard case .failed(let error) = recorder.finished(id).reasons.first else {
        Issue.record("\(id) ended with \(recorder.outcome(id).reasons)")
        continue
      }
      #expect(error.message == "a device failed: it broke in its \(call.rawValue)")
    }
    #expect(waitUntil { engine.load().executors.allSatisfy { !$0.isBusy } })
    engine.shutdown()
  }

  private static let meetings: [(FaultyPeer.Call, Int)] = [
    (.load, 0), (.load, 1), (.makeHandoff, 0), (.makeHandoff, 2), (.open, 0), (.open, 1),
  ]

  @Test(arguments: meetings)
  func `a device that fails when slices meet ends the start`(
    call: FaultyPeer.Call, index: Int
  ) throws {
    for stages in [1, 2] {
      let error = #expect(throws: EngineError.self) {
        try start(.dense, Spread(slices: 3, stages: stages, words: [])) { seat, device in
          guard seat.index == index else { return device }
          let faulty = FaultyPeer(device)
          faulty.fault = (call, 0)
          return faulty
        }
      }
      #expect(error?.message == "it broke in its \(call.rawValue)")
    }
  }
}
