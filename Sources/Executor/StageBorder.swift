// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Program
internal import Support

/// Where one stage's values go on to the next: the leaders of both meet at it once, when they are
/// loaded.
struct StageBorder: Sendable {
  /// The number of the stage in front.
  let index: Int
  /// What the stage behind offers, once; nil where it takes values from the host only.
  private let offer = Inbox<(any Handoff)?>(capacity: 1, wake: WakeSignal())

  init(index: Int) { self.index = index }

  /// The stage behind.
  func put(_ handoff: (any Handoff)?) { offer.put(handoff) }

  /// The stage in front: sleeps until the one behind is loaded, or has failed to.
  func take() -> (any Handoff)? { offer.take() }
}

/// How hidden values come to a stage and go on from it, without the host where there is a handoff.
struct StageCrossing {
  var device: any PeerDevice
  var incoming: (any Handoff)?
  var outgoing: (any Handoff)?
  /// How values go on, in words; nil where no device could do other than by the host.
  var note: String?

  /// Meets the neighbours of a loaded device. Waits until the stage behind is loaded.
  ///
  /// - Parameter places: micro-batches that may be on their way.
  init?(
    _ device: any Device, _ program: Program, places: Int, before: StageBorder?,
    after: StageBorder?
  ) throws(DeviceError) {
    guard let device = device as? any PeerDevice else {
      before?.put(nil)
      _ = after?.take()
      return nil
    }
    self.device = device
    if let before, case .hidden(let value) = program.input {
      let made = Result { () throws(DeviceError) in
        try device.makeHandoff(of: [[value]], places: places)
      }
      incoming = try? made.get()
      before.put(incoming)
      _ = try made.get()
    }
    if let after { try open(after) }
  }

  private mutating func open(_ border: StageBorder) throws(DeviceError) {
    let names = "stages \(border.index) and \(border.index + 1)"
    guard let handoff = border.take() else {
      note = "\(names): through the host, since the latter takes values from there only"
      return
    }
    switch try device.open(handoff) {
    case .direct(let words):
      outgoing = handoff
      note = "\(names): \(words), without the host"
    case .host(let reason):
      note = "\(names): through the host, since \(reason)"
    }
  }
}
