// SPDX-License-Identifier: Apache-2.0

/// The messages of one connection whose end has not come; C-core keeps them until it does, however
/// large they say they are.
struct UnfinishedMessages {
  private struct Message {
    /// Bytes of the prefix that have come: a flag, and the size.
    var prefixCount = 0
    /// Bytes that are still to come, once the prefix has.
    var left = 0
    var held = 0

    var isEnded: Bool { prefixCount == UnfinishedMessages.prefixBytes && left == 0 }
  }

  private static let prefixBytes = 5
  /// What C-core needs to keep a piece of a message, however small.
  private static let pieceBytes = 64

  /// By stream; not those of which nothing has come.
  private var messages: [UInt32: Message] = [:]
  /// Bytes kept for all of them.
  private(set) var held = 0

  /// Some of what a stream carries has come.
  mutating func received(_ bytes: Slice<UnsafeRawBufferPointer>, on stream: UInt32) {
    var message = messages.removeValue(forKey: stream) ?? Message()
    held -= message.held
    var rest = bytes
    while !rest.isEmpty {
      if message.prefixCount < Self.prefixBytes {
        let byte = rest.removeFirst()
        if message.prefixCount > 0 { message.left = message.left << 8 | Int(byte) }
        message.prefixCount += 1
      } else {
        let count = min(message.left, rest.count)
        rest.removeFirst(count)
        message.left -= count
        message.held += count
      }
      if message.isEnded { message = Message() }
    }
    guard message.prefixCount > 0 else { return }
    message.held += Self.pieceBytes
    held += message.held
    messages[stream] = message
  }

  /// No more will come on a stream.
  mutating func ended(_ stream: UInt32) {
    if let message = messages.removeValue(forKey: stream) { held -= message.held }
  }
}
