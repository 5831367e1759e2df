// SPDX-License-Identifier: Apache-2.0

/// How far a device is with its weights.
package struct LoadProgress: Hashable, Sendable {
  /// The index of the device's seat.
  package var seat: Int
  package var loadedBytes: Int
  /// Bytes that this device loads in all, as the checkpoint stores them.
  package var totalBytes: Int

  package init(seat: Int, loadedBytes: Int, totalBytes: Int) {
    self.seat = seat
    self.loadedBytes = loadedBytes
    self.totalBytes = totalBytes
  }
}
