// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Memory of the host that weights of GPUs may take, for all devices of a process together. Any
/// thread.
package final class HostMemoryBudget: Sendable {
  package let byteCount: Int
  private let taken = Mutex(0)

  package init(byteCount: Int) { self.byteCount = byteCount }

  var left: Int { byteCount - taken.withLock { $0 } }

  /// Takes all of it, or nothing where there is less.
  func take(_ bytes: Int) -> Bool {
    taken.withLock { taken in
      guard bytes <= byteCount - taken else { return false }
      taken += bytes
      return true
    }
  }
}
