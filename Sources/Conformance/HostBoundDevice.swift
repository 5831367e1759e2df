// SPDX-License-Identifier: Apache-2.0

package import Device
package import Program
package import Step

/// A device whose values go to others through the host, whatever it could do: what exchanges
/// without the host is compared with.
package final class HostBoundDevice: Device {
  private let device: any Device

  package init(_ device: any Device) { self.device = device }

  package var summary: String { device.summary }
  package var note: String? { device.note }

  package func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    try device.load(program, from: weights, capacity: capacity, progress: progress)
  }

  package func begin(_ plan: StepPlan) throws(DeviceError) { try device.begin(plan) }

  package func run(_ operations: Range<Int>) throws(DeviceError) { try device.run(operations) }

  package func read(
    _ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError) {
    try device.read(value, into: destination)
  }

  package func write(
    _ value: ValueID, from source: UnsafeBufferPointer<Float>
  ) throws(DeviceError) {
    try device.write(value, from: source)
  }
}
