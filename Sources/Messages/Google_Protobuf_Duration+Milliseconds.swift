// SPDX-License-Identifier: Apache-2.0

extension Google_Protobuf_Duration {
  /// A span of time, rounded towards zero to whole milliseconds when it is read.
  package init(milliseconds: Int64) {
    self.init()
    seconds = milliseconds / 1000
    nanos = Int32(milliseconds % 1000) * 1_000_000
  }

  package var milliseconds: Int64 { seconds * 1000 + Int64(nanos) / 1_000_000 }
}
