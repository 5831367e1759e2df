// SPDX-License-Identifier: Apache-2.0

package import Wire

extension Google_Protobuf_Any {
  /// A message with the name of its type, as status details carry it.
  package init<M: Message>(packing message: M) {
    self.init()
    typeURL = "type.googleapis.com/\(M.messageName)"
    value = message.encoded()
  }

  /// The message inside; nil when it is of another type.
  package func unpacked<M: Message>(as type: M.Type) throws(WireError) -> M? {
    guard typeURL.hasSuffix("/\(M.messageName)") else { return nil }
    return try M(decoding: value)
  }
}
