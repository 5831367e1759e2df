// SPDX-License-Identifier: Apache-2.0

/// What one message may take.
public struct WireLimits: Hashable, Sendable {
  /// Bytes of the outermost message.
  public var byteCountMax: Int
  /// Messages, map entries and groups inside each other, without the outermost message.
  public var depthMax: Int

  public init(byteCountMax: Int = 64 << 20, depthMax: Int = 100) {
    self.byteCountMax = byteCountMax
    self.depthMax = depthMax
  }
}
