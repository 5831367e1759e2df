// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Program
internal import Slicing
internal import Support

/// How the device of a context slice exchanges with the others of its stage without the host: a
/// leader with each of its followers, in their order, a follower with its leader alone.
struct SliceCrossing {
  let device: any PeerDevice
  /// Where the others take what this one sends.
  let outgoing: [any Handoff]
  /// Where it takes what the others send.
  let incoming: [any Handoff]
}

/// Between the leader of a stage and one of its followers: they meet at it once, when they are
/// loaded, and say how they exchange. A follower's values are written where it reads them, and one
/// place for what it gives is enough: a leader sends for a merge behind the one before it, which
/// came behind what the follower had made of the values.
struct SliceBorder: Sendable {
  /// What the follower offers for the leader to send to; nil where it takes values from the host.
  private let offer = Inbox<(any Handoff)?>(capacity: 1, wake: WakeSignal())
  /// What the leader offers in return; nil where all goes through the host.
  private let answer = Inbox<(any Handoff)?>(capacity: 1, wake: WakeSignal())
  /// How the follower gets there, if something was offered.
  private let path = Inbox<HandoffPath>(capacity: 1, wake: WakeSignal())

  // MARK: Leader

  /// What a leader found.
  private enum Way {
    case direct(SliceCrossing, [String])
    case host(String)
  }

  /// Meets the followers of a loaded leader. Waits until each is loaded, or has failed to be.
  ///
  /// - Returns: the way without the host if there is one from and to each of them, and in words
  ///   which way it is; nil where the leader could not do other than by the host.
  static func lead(
    _ device: any Device, _ slicing: ContextSlicing, _ borders: [SliceBorder]
  ) throws(DeviceError) -> (crossing: SliceCrossing?, words: String)? {
    guard let device = device as? any PeerDevice else {
      leave(borders)
      return nil
    }
    let found = Result { () throws(DeviceError) in try open(borders, slicing, from: device) }
    switch found {
    case .failure(let error):
      leave(borders)
      throw error
    case .success(.host(let reason)):
      leave(borders)
      return (nil, "through the host, since \(reason)")
    case .success(.direct(let crossing, let words)):
      for (border, handoff) in zip(borders, crossing.incoming) { border.answer.put(handoff) }
      for border in borders {
        guard case .host(let reason) = border.path.take() else { continue }
        return (nil, "through the host, since \(reason)")
      }
      return (crossing, "\(words.joined(separator: ", ")), without the host")
    }
  }

  /// For a leader that has failed to be loaded: nobody waits for it.
  static func leave(_ borders: [SliceBorder]) {
    for border in borders { border.answer.put(nil) }
  }

  private static func open(
    _ borders: [SliceBorder], _ slicing: ContextSlicing, from device: any PeerDevice
  ) throws(DeviceError) -> Way {
    var outgoing: [any Handoff] = []
    var incoming: [any Handoff] = []
    var words: [String] = []
    for (index, border) in borders.enumerated() {
      guard let handoff = border.offer.take() else {
        return .host("slice \(index + 1) takes values from there only")
      }
      switch try device.open(handoff) {
      case .host(let reason): return .host(reason)
      case .direct(let way):
        if !words.contains(way) { words.append(way) }
      }
      outgoing.append(handoff)
      let parts = slicing.merges.map { [$0.output, $0.logSumExp] }
      incoming.append(try device.makeHandoff(of: parts, places: 1))
    }
    return .direct(
      SliceCrossing(device: device, outgoing: outgoing, incoming: incoming), words)
  }

  // MARK: Follower

  /// Meets the leader of a loaded follower. Waits until that is loaded, or has failed to be.
  func follow(
    _ device: any Device, _ slicing: ContextSlicing
  ) throws(DeviceError) -> SliceCrossing? {
    guard let device = device as? any PeerDevice else {
      decline()
      return nil
    }
    let made = Result { () throws(DeviceError) in
      try device.makeHandoff(inPlaceOf: slicing.merges.map { $0.handOver.map(\.follower) })
    }
    offer.put(try? made.get())
    let incoming = try made.get()
    guard let outgoing = answer.take() else { return nil }
    let opened = Result { () throws(DeviceError) in try device.open(outgoing) }
    path.put((try? opened.get()) ?? .host("a follower has failed"))
    guard case .direct = try opened.get() else { return nil }
    return SliceCrossing(device: device, outgoing: [outgoing], incoming: [incoming])
  }

  /// For a follower that has failed to be loaded, too: it takes values from the host only.
  func decline() { offer.put(nil) }
}
