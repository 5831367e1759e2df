// SPDX-License-Identifier: Apache-2.0

internal import Wire

extension Message {
  /// Decodes a message where it lies, without copying it first.
  init(decoding span: RawSpan) throws(WireError) {
    self = try span.withUnsafeBytes { (bytes) throws(WireError) in try Self(decoding: bytes) }
  }
}
