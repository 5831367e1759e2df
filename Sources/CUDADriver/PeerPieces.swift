// SPDX-License-Identifier: Apache-2.0

internal import Support

/// Pieces of one GPU's own memory that another's queue (or another queue of the same GPU) fills
/// where they are read, and the fence by which the receiver's queue waits for them.
///
/// Nothing here says when the receiver has read them: the sender sends again only behind something
/// of the receiver's that it has waited for and that came after. Made by the receiving thread and
/// opened by the sending one; then both use it by turns that something else orders. Each `GPU`
/// keeps it, and it keeps the memory, so that no queued copy loses its place.
package final class PeerPieces: @unchecked Sendable {
  // What `open` sets is read by the receiver only after the sender has told it of a copy.

  let receiver: PrimaryContext
  fileprivate let groups: [[GPU.Piece]]
  private let memory: [GPUAllocation]
  fileprivate private(set) var sending: Sending?

  fileprivate struct Sending {
    let context: PrimaryContext
    /// Recorded by the sender when all of a group is there.
    let sent: UnsafeMutableRawPointer
  }

  fileprivate init(_ groups: [[GPU.Piece]], in memory: [GPUAllocation], of receiver: PrimaryContext)
  {
    self.groups = groups
    self.memory = memory
    self.receiver = receiver
  }

  deinit {
    guard let sending else { return }
    let functions = receiver.driver.functions
    _ = sending.context.asCurrent { functions.destroyEvent(sending.sent) }
  }

  fileprivate func open(from context: PrimaryContext, sent: UnsafeMutableRawPointer) {
    sending = Sending(context: context, sent: sent)
  }

  fileprivate var sent: UnsafeMutableRawPointer {
    guard let sending else { checkFailed("pieces are not opened", file: #fileID, line: #line) }
    return sending.sent
  }
}

extension GPU {
  /// Pieces of this GPU's memory, in groups of which one is filled at a time.
  package func makePeerPieces(_ groups: [[Piece]]) -> PeerPieces {
    let memory = Set(groups.joined().map(\.address)).map { address in
      guard let allocation = allocation(of: address) else {
        checkFailed("\(address) is not allocated here", file: #fileID, line: #line)
      }
      return allocation
    }
    let pieces = PeerPieces(groups, in: memory, of: context)
    peerPieces.append(pieces)
    return pieces
  }

  /// Makes ready to send there.
  package func open(_ pieces: PeerPieces) throws(CUDAError) -> Reach {
    let reach = try reach(pieces.receiver)
    if case .none = reach { return reach }
    pieces.open(from: context, sent: try makeEvent())
    peerPieces.append(pieces)
    return reach
  }

  /// Queues copies to the pieces of a group, in their order.
  package func send(
    _ sources: [Piece], to pieces: PeerPieces, group index: Int
  ) throws(CUDAError) {
    let group = pieces.groups[index]
    check(sources.count == group.count, "\(sources.count) pieces for \(group.count)")
    for (source, place) in zip(sources, group) {
      check(
        source.byteCount <= place.byteCount,
        "\(source.byteCount) bytes for a piece of \(place.byteCount)")
      try copy(source, to: pieces.receiver, at: place.address)
    }
    try expect(driver.functions.recordEvent(pieces.sent, stream), "cuEventRecord")
  }

  /// Puts what is queued from here on behind the arrival of what was sent last.
  package func awaitArrival(of pieces: PeerPieces) throws(CUDAError) {
    try expect(driver.functions.waitForEvent(stream, pieces.sent, 0), "cuStreamWaitEvent")
  }
}
