// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Device
import Models
import Program
import Slicing
import Step
import Support
import TestSupport
import Testing

/// Values that go from one device to another without passing through the host.
@Suite struct CUDAHandoffTests {
  /// A model in two stages, on two GPUs or on two devices of one.
  private struct Stages {
    var first, second: CPUModelRun
    let handoff: any Handoff
    let path: HandoffPath
    let prompt: [Int32]

    init(gpus: (Int, Int), rowCountMax: Int = 128, places: Int = 2) throws {
      let golden = try SyntheticCheckpoint("v3-deep")
      let checkpoint = try Checkpoint(directory: golden.directory)
      try self.init(
        try Model.program(for: checkpoint), checkpoint, golden.prompt, gpus: gpus,
        rowCountMax: rowCountMax, places: places)
    }

    init(
      _ program: Program, _ weights: any WeightSource, _ prompt: [Int32], gpus: (Int, Int),
      rowCountMax: Int = 128, places: Int = 2
    ) throws {
      let half = program.layers.count / 2
      first = try CPUModelRun(
        try program.stage(layers: 0..<half), weights, on: try EmulatedGPU.device(gpu: gpus.0),
        rowCountMax: rowCountMax)
      second = try CPUModelRun(
        try program.stage(layers: half..<program.layers.count), weights,
        on: try EmulatedGPU.device(gpu: gpus.1), rowCountMax: rowCountMax)
      handoff = try Self.peer(second).makeHandoff(
        of: [[try Self.input(second)]], places: places)
      path = try Self.peer(first).open(handoff)
      self.prompt = prompt
    }

    static func peer(_ run: CPUModelRun) throws -> any PeerDevice {
      try #require(run.device as? any PeerDevice)
    }

    static func input(_ run: CPUModelRun) throws -> ValueID {
      guard case .hidden(let value) = run.program.input else {
        throw DeviceError(.internal, "no stage in front")
      }
      return value
    }

    func output() throws -> ValueID {
      guard case .hidden(let value) = first.program.output else {
        throw DeviceError(.internal, "no stage behind")
      }
      return value
    }

    /// Queues a step of the first stage.
    mutating func queueFirst(_ plan: StepPlan) throws {
      try first.begin(plan)
      try first.device.run(first.program.operations.indices)
    }

    mutating func logits(_ plan: StepPlan, place: Int?) throws -> [Float] {
      try queueFirst(plan)
      try second.begin(plan)
      if let place {
        try Self.peer(first).send([try output()], to: handoff, place: place)
        try Self.peer(second).receive([try Self.input(second)], from: handoff, place: place)
      } else {
        let hidden = try first.values(try output())
        let input = try Self.input(second)
        try hidden.withUnsafeBufferPointer { try second.device.write(input, from: $0) }
      }
      try second.device.run(second.program.operations.indices)
      guard case .logits(let value) = second.program.output else { return [] }
      return try second.values(value)
    }
  }

  private func expectTheBits(
    _ make: () throws -> Stages, path: HandoffPath, rows: [Int] = [20, 1, 7]
  ) throws {
    var direct = try make()
    var byHost = try make()
    #expect(direct.path == path)
    var position = 0
    for (step, count) in rows.enumerated() {
      let tokens = Array(direct.prompt[position..<position + count])
      let plan = CPUModelRun.plan([(0, tokens, position)])
      let expected = try byHost.logits(plan, place: nil)
      #expect(Set(expected.map(\.bitPattern)).count > count)
      #expect(bitsEqual(try direct.logits(plan, place: step % 2), expected), "step \(step)")
      position += count
    }
  }

  @Test(arguments: [(0, 1), (1, 0), (1, 1)])
  func `values come over with the bits that the host would carry`(gpus: (Int, Int)) throws {
    let words = gpus.0 == gpus.1 ? "within cuda:1" : "from cuda:\(gpus.0) to cuda:\(gpus.1)"
    try expectTheBits({ try Stages(gpus: gpus) }, path: .direct(words))
  }

  /// What arrives is read by a product, which takes bfloat16.
  @Test func `a product reads what came over`() throws {
    var builder = ProgramBuilder()
    var hidden = builder.embed(Weight("embed", [64, 40]))
    for layer in 0..<2 {
      builder.layer { builder in
        hidden = builder.linear(hidden, Weight("layer-\(layer)", [40, 40]))
      }
    }
    let logits = builder.linear(builder.selectOutputs(hidden), Weight("head", [64, 40]))
    let program = builder.finish(
      name: "linears", vocabularySize: 64, contextLength: 64, logits: logits)
    let tokens = (0..<28).map { Int32($0 * 5 % 64) }
    try expectTheBits(
      { try Stages(program, RandomWeights(), tokens, gpus: (0, 1)) },
      path: .direct("from cuda:0 to cuda:1"))
  }

  /// The sender runs ahead: what it sends next may not come before what it sent is taken.
  @Test func `a place is not filled again before it is emptied`() throws {
    var stages = try Stages(gpus: (0, 1))
    let (peer, value) = (try Stages.peer(stages.second), try Stages.input(stages.second))
    let plans = [0, 9].map {
      CPUModelRun.plan([(0, Array(stages.prompt[$0..<$0 + 9]), $0)])
    }
    try stages.queueFirst(plans[0])
    try Stages.peer(stages.first).send([try stages.output()], to: stages.handoff, place: 0)
    try stages.second.begin(plans[0])
    try peer.receive([value], from: stages.handoff, place: 0)
    try stages.queueFirst(plans[1])
    try Stages.peer(stages.first).send([try stages.output()], to: stages.handoff, place: 0)
    // Waits for all that the sender has queued.
    let later = try stages.first.values(try stages.output())
    let earlier = try stages.second.values(value)
    #expect(!bitsEqual(earlier, later) && earlier.allSatisfy(\.isFinite))
    try peer.receive([value], from: stages.handoff, place: 0)
    #expect(bitsEqual(try stages.second.values(value), later))
    var alone = try Stages(gpus: (0, 1))
    try alone.queueFirst(plans[0])
    #expect(bitsEqual(try alone.first.values(try alone.output()), earlier))
  }

  @Test func `without memory for the places values go through the host`() throws {
    let stages = try Stages(gpus: (0, 1), places: 1 << 20)
    guard case .host(let reason) = stages.path else {
      Issue.record("\(stages.path)")
      return
    }
    #expect(reason.contains("cuda:1 has no") && reason.contains("memory free"))
  }
}
