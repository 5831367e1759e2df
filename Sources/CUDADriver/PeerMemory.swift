// SPDX-License-Identifier: Apache-2.0

internal import Support

/// Places in the memory of one GPU that another's queue (or another queue of the same GPU) fills,
/// and the fences that order the two: a copy out waits for the copy in, and the next copy in for
/// that copy out.
///
/// Made by the receiving thread and opened by the sending one; then both use each place by turns
/// that something else orders. Each `GPU` keeps it until its queue has ended; the last frees it.
package final class PeerMemory: @unchecked Sendable {
  // What `open` sets is read by the receiver only after the sender has told it of a copy.

  /// Of one place.
  let byteCount: Int
  let receiver: PrimaryContext
  /// For each place, recorded by the receiver when it has taken what was sent.
  fileprivate let taken: [UnsafeMutableRawPointer]
  fileprivate private(set) var sending: Sending?

  fileprivate struct Sending {
    let context: PrimaryContext
    let start: UInt64
    /// For each place, recorded by the sender when all is there.
    let sent: [UnsafeMutableRawPointer]
  }

  fileprivate init(byteCount: Int, receiver: PrimaryContext, taken: [UnsafeMutableRawPointer]) {
    self.byteCount = Self.room(for: byteCount)
    self.receiver = receiver
    self.taken = taken
  }

  /// What a piece of so many bytes takes of a place: the next begins behind it.
  package static func room(for byteCount: Int) -> Int { (max(1, byteCount) + 255) / 256 * 256 }

  deinit {
    receiver.destroyEvents(taken)
    guard let sending else { return }
    let functions = receiver.driver.functions
    _ = receiver.asCurrent { functions.free(sending.start) }
    sending.context.destroyEvents(sending.sent)
  }

  /// Takes the receiving GPU's memory. It is the sender's to ask for, since the receiver does not
  /// know whether it can be reached from there.
  fileprivate func open(
    from context: PrimaryContext, sent: [UnsafeMutableRawPointer]
  ) -> DriverStatus {
    var start: UInt64 = 0
    let status = receiver.asCurrent {
      receiver.driver.functions.allocate(&start, byteCount * taken.count)
    }
    if status == 0 { sending = Sending(context: context, start: start, sent: sent) }
    return DriverStatus(rawValue: status)
  }

  /// An opened place, for so many bytes.
  fileprivate func place(
    _ index: Int, byteCount: Int
  ) -> (address: UInt64, taken: UnsafeMutableRawPointer, sent: UnsafeMutableRawPointer) {
    guard let sending, byteCount <= self.byteCount else {
      checkFailed(
        "\(byteCount) bytes for a place of \(self.byteCount)", file: #fileID, line: #line)
    }
    return (sending.start + UInt64(index * self.byteCount), taken[index], sending.sent[index])
  }
}

extension PrimaryContext {
  fileprivate func destroyEvents(_ events: [UnsafeMutableRawPointer]) {
    for event in events { _ = asCurrent { driver.functions.destroyEvent(event) } }
  }
}

extension GPU {
  /// Whether another GPU's memory can be written to from here.
  package enum Reach {
    case same
    case peer
    /// And why.
    case none(String)
  }

  /// Places on this GPU for what another queue sends, of so many bytes each. Takes no memory yet.
  package func makePeerMemory(_ byteCount: Int, places: Int) throws(CUDAError) -> PeerMemory {
    let memory = PeerMemory(
      byteCount: byteCount, receiver: context, taken: try makeEvents(places))
    peerMemory.append(memory)
    return memory
  }

  /// Makes ready to send there, which takes the receiving GPU's memory; none is taken where it
  /// cannot be reached or has none free.
  package func open(_ memory: PeerMemory) throws(CUDAError) -> Reach {
    let reach = try reach(memory.receiver)
    if case .none = reach { return reach }
    let sent = try makeEvents(memory.taken.count)
    let status = memory.open(from: context, sent: sent)
    if status == .success {
      peerMemory.append(memory)
      return reach
    }
    context.destroyEvents(sent)
    let (size, other) = (memory.byteCount * sent.count, memory.receiver.properties.index)
    if status == .outOfMemory { return .none("cuda:\(other) has no \(size) bytes of memory free") }
    throw driver.error(status, "cuda:\(other): cuMemAlloc of \(size) bytes")
  }

  private func makeEvents(_ count: Int) throws(CUDAError) -> [UnsafeMutableRawPointer] {
    var events: [UnsafeMutableRawPointer] = []
    for _ in 0..<count { events.append(try makeEvent()) }
    return events
  }

  func reach(_ receiver: PrimaryContext) throws(CUDAError) -> Reach {
    if receiver.handle == context.handle { return .same }
    let (here, there) = (properties.index, receiver.properties.index)
    var can: Int32 = 0
    try expect(
      driver.functions.canAccessPeer(&can, properties.device, receiver.properties.device),
      "cuDeviceCanAccessPeer of cuda:\(there)")
    guard can != 0 else { return .none("cuda:\(here) cannot reach the memory of cuda:\(there)") }
    let status = DriverStatus(rawValue: driver.functions.enablePeerAccess(receiver.handle, 0))
    // Where no switch is between them, a GPU reaches eight others.
    if status == .tooManyPeers {
      return .none("cuda:\(here) reaches as many GPUs as it can, and cuda:\(there) is one more")
    }
    if status != .peerAccessAlreadyEnabled {
      try expect(status.rawValue, "cuCtxEnablePeerAccess of cuda:\(there)")
    }
    return .peer
  }

  /// Bytes of this GPU's memory.
  package struct Piece {
    package var address: UInt64
    package var byteCount: Int

    package init(address: UInt64, byteCount: Int) {
      self.address = address
      self.byteCount = byteCount
    }
  }

  /// Queues copies to an opened place, behind each other and behind the last copy out of it.
  package func send(
    _ pieces: [Piece], to memory: PeerMemory, place index: Int
  ) throws(CUDAError) {
    let place = memory.place(index, byteCount: Self.room(for: pieces))
    try expect(driver.functions.waitForEvent(stream, place.taken, 0), "cuStreamWaitEvent")
    var address = place.address
    for piece in pieces {
      try copy(piece, to: memory.receiver, at: address)
      address += UInt64(PeerMemory.room(for: piece.byteCount))
    }
    try expect(driver.functions.recordEvent(place.sent, stream), "cuEventRecord")
  }

  private static func room(for pieces: [Piece]) -> Int {
    pieces.reduce(0) { $0 + PeerMemory.room(for: $1.byteCount) }
  }

  func copy(
    _ piece: Piece, to receiver: PrimaryContext, at address: UInt64
  ) throws(CUDAError) {
    if receiver.handle == context.handle {
      return try copyWithin(to: address, from: piece.address, byteCount: piece.byteCount)
    }
    if piece.byteCount == 0 { return }
    try expect(
      driver.functions.copyToPeer(
        address, receiver.handle, piece.address, context.handle, piece.byteCount, stream),
      "cuMemcpyPeerAsync to cuda:\(receiver.properties.index)")
  }

  /// Queues copies of what was sent last to a place, piece by piece, behind its arrival.
  package func receive(
    _ pieces: [Piece], from memory: PeerMemory, place index: Int
  ) throws(CUDAError) {
    try take(Self.room(for: pieces), from: [memory], place: index) { starts throws(CUDAError) in
      var address = starts[0]
      for piece in pieces {
        try copyWithin(to: piece.address, from: address, byteCount: piece.byteCount)
        address += UInt64(PeerMemory.room(for: piece.byteCount))
      }
    }
  }

  /// Queues what `body` does with so many bytes that were sent last to a place of each, behind
  /// their arrival and before others may come. `body` gets where they begin.
  package func take(
    _ byteCount: Int, from memories: [PeerMemory], place index: Int,
    _ body: ([UInt64]) throws(CUDAError) -> Void
  ) throws(CUDAError) {
    let places = memories.map { $0.place(index, byteCount: byteCount) }
    for place in places {
      try expect(driver.functions.waitForEvent(stream, place.sent, 0), "cuStreamWaitEvent")
    }
    try body(places.map { $0.address })
    for place in places {
      try expect(driver.functions.recordEvent(place.taken, stream), "cuEventRecord")
    }
  }

  private func copyWithin(
    to address: UInt64, from source: UInt64, byteCount: Int
  ) throws(CUDAError) {
    if byteCount == 0 { return }
    try expect(
      driver.functions.copyWithin(address, source, byteCount, stream), "cuMemcpyDtoDAsync")
  }
}
