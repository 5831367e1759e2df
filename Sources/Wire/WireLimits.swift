// SPDX-License-Identifier: Apache-2.0

/// What one message may take.
package struct WireLimits: Hashable, Sendable {
  /// Bytes of the outermost message.
  package var byteCountMax: Int
  /// Messages, map entries and groups inside each other, without the outermost message.
  package var depthMax: Int

  package init(byteCountMax: Int = 64 << 20, depthMax: Int = 100) {
    self.byteCountMax = byteCountMax
    self.depthMax = depthMax
  }
}
