// SPDX-License-Identifier: Apache-2.0

import Device
import Glibc
import Program
import Step
import Support
import Synchronization

/// A device whose steps a test can hold, slow down or break; else the reference device.
final class GatedDevice: Device {
  /// A test's hand on the device. Any thread.
  final class Gate: Sendable {
    /// While true, no step comes to its end.
    let isHeld = Atomic<Bool>(false)
    /// Added to each step.
    let stepMicroseconds = Atomic<UInt32>(0)
    /// Makes the next step fail.
    let isBroken = Atomic<Bool>(false)

    func hold() { isHeld.store(true, ordering: .relaxed) }
    func release() { isHeld.store(false, ordering: .relaxed) }
    func slowDown(microseconds: UInt32) {
      stepMicroseconds.store(microseconds, ordering: .relaxed)
    }
  }

  private let device = ReferenceDevice()
  private let gate: Gate

  init(_ gate: Gate) { self.gate = gate }

  var summary: String { "gated \(device.summary)" }

  func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    try device.load(program, from: weights, capacity: capacity, progress: progress)
  }

  func begin(_ plan: StepPlan) throws(DeviceError) {
    while gate.isHeld.load(ordering: .relaxed) { usleep(200) }
    usleep(gate.stepMicroseconds.load(ordering: .relaxed))
    if gate.isBroken.load(ordering: .relaxed) { throw DeviceError(.internal, "the test broke it") }
    device.begin(plan)
  }

  func run(_ operations: Range<Int>) throws(DeviceError) { device.run(operations) }

  func read(
    _ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError) {
    device.read(value, into: destination)
  }

  func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) throws(DeviceError) {
    device.write(value, from: source)
  }
}
