// SPDX-License-Identifier: Apache-2.0

import Device
import Engine
import Program
import Step
import Support
import Testing
import Topology

/// What a step costs beside the device's work. The bounds are loose, for slow and shared machines
/// and debug builds; the figures in Engine's README come from the printed lines.
@Suite(.serialized)
struct StepOverheadTests {
  @Test(arguments: [1, 64])
  func aStepCostsLittleBesideTheDevice(batch: Int) throws {
    var configuration = EngineConfiguration()
    configuration.batchMax = batch
    let engine = try Engine.start(
      FakeDevice.program(contextLength: 1024), from: NoWeights(),
      devices: { _ throws(DeviceError) in IdleDevice() }, configuration: configuration,
      topology: Topology.current())
    defer { engine.shutdown() }
    let recorder = Recorder()
    let start = Clock.nowNanoseconds
    let ids = try (0..<batch).map {
      try engine.submit(.greedy([Int32($0), 1], tokens: 500), to: recorder)
    }
    for id in ids { #expect(recorder.finished(id).tokens.count == 500) }
    let microseconds = Double(Clock.nowNanoseconds - start) / 1000
    let perStep = microseconds / Double(engine.load().stepCount)
    print("step overhead at batch \(batch): \(perStep) microseconds")
    #expect(perStep < 20_000)
  }
}

/// A device that has nothing to do.
private final class IdleDevice: Device {
  let summary = "idle"

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
}
