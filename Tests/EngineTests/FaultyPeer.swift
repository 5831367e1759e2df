// SPDX-License-Identifier: Apache-2.0

import Device
import Program
import Step
import Support

/// A device that can be reached as another one can, until it breaks.
final class FaultyPeer: PeerDevice {
  enum Call: String, Sendable {
    case load, begin, run, makeHandoff, open, send, receive, merge
  }

  /// What fails, after so many times that it does not.
  var fault: (call: Call, after: Int)?
  /// How it gets to others, if it is not as it is.
  var path: HandoffPath?
  private let device: any PeerDevice
  private var callCount = 0

  init(_ device: any PeerDevice) { self.device = device }

  var summary: String { "faulty \(device.summary)" }

  private func called(_ call: Call) throws(DeviceError) {
    guard let fault, fault.call == call else { return }
    callCount += 1
    if callCount > fault.after {
      throw DeviceError(.internal, "it broke in its \(call.rawValue)")
    }
  }

  func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError) {
    try called(.load)
    try device.load(program, from: weights, capacity: capacity, progress: progress)
  }

  func begin(_ plan: StepPlan) throws(DeviceError) {
    try called(.begin)
    try device.begin(plan)
  }

  func run(_ operations: Range<Int>) throws(DeviceError) {
    try called(.run)
    try device.run(operations)
  }

  func read(
    _ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError) {
    try device.read(value, into: destination)
  }

  func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) throws(DeviceError) {
    try device.write(value, from: source)
  }

  func makeHandoff(of groups: [[ValueID]], places: Int) throws(DeviceError) -> any Handoff {
    try called(.makeHandoff)
    return try device.makeHandoff(of: groups, places: places)
  }

  func makeHandoff(inPlaceOf groups: [[ValueID]]) throws(DeviceError) -> any Handoff {
    try called(.makeHandoff)
    return try device.makeHandoff(inPlaceOf: groups)
  }

  func open(_ handoff: any Handoff) throws(DeviceError) -> HandoffPath {
    try called(.open)
    if let path { return path }
    return try device.open(handoff)
  }

  func send(_ values: [ValueID], to handoff: any Handoff, place: Int) throws(DeviceError) {
    try called(.send)
    try device.send(values, to: handoff, place: place)
  }

  func receive(_ values: [ValueID], from handoff: any Handoff, place: Int) throws(DeviceError) {
    try called(.receive)
    try device.receive(values, from: handoff, place: place)
  }

  func merge(
    _ output: ValueID, _ logSumExp: ValueID, with parts: [any Handoff], place: Int
  ) throws(DeviceError) {
    try called(.merge)
    try device.merge(output, logSumExp, with: parts, place: place)
  }
}
