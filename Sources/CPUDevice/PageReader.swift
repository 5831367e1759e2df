// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Program
internal import Support
internal import Synchronization

/// Has the system read mapped tensors, on a thread of its own, so that steps do not wait for the
/// disk at each page that they touch first. What the system does not do so, steps do.
final class PageReader: Sendable {
  /// What is asked for at once: end and faults of other threads wait no longer than for this.
  private static let pieceBytes = 4 << 20

  private final class Stop: Sendable {
    let isWanted = Atomic(false)
  }

  private let stop = Stop()
  private let thread: PinnedThread

  /// Starts reading, and returns.
  init(_ tensors: [StoredTensor]) {
    thread = PinnedThread(name: "page-reader") { [stop] in
      for tensor in tensors where !Self.read(tensor.bytes, until: stop) { return }
    }
  }

  /// What is left is not read.
  deinit {
    stop.isWanted.store(true, ordering: .relaxed)
    thread.join()
  }

  /// Whether there is more to do: false after `stop`, and where the system cannot read ahead.
  private static func read(_ bytes: UnsafeRawBufferPointer, until stop: Stop) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(pieceBytes))
      guard !stop.isWanted.load(ordering: .relaxed),
        ck_read_pages(piece.baseAddress, Int64(piece.count)) == 0
      else { return false }
      rest = rest.dropFirst(piece.count)
    }
    return true
  }
}
