// SPDX-License-Identifier: Apache-2.0

internal import Wire

/// A delta on its way into the memory that is sent, with the frame around it: what almost every
/// message of a server is, so it is written from the buffers of its choice and not through
/// `Silica_V1_Delta`, which would cost three allocations. The bytes are the same.
///
/// Valid only while its buffers are lent.
package struct DeltaFrame {
  /// Of a `ServerFrame`; nil for a `GenerateResponse`, which has no such fields.
  package struct Head {
    package var generation: UInt32
    package var sequence: UInt64

    package init(generation: UInt32, sequence: UInt64) {
      self.generation = generation
      self.sequence = sequence
    }
  }

  /// Field numbers in inference.proto.
  private enum Field {
    static let frameGeneration: UInt32 = 1
    static let frameSequence: UInt32 = 2
    static let frameDelta: UInt32 = 5
    static let responseDelta: UInt32 = 2
    static let index: UInt32 = 1
    static let text: UInt32 = 2
    static let tokenIDs: UInt32 = 3
  }

  private let index: UInt32
  private let text: UnsafeBufferPointer<UInt8>
  private let tokens: UnsafeBufferPointer<DeltaBuffer.Token>
  private let tokenIDsSize: Int
  private let deltaSize: Int
  /// Tokens that it accounts for.
  let tokenCount: Int

  init(
    index: UInt32, text: UnsafeBufferPointer<UInt8>,
    tokens: UnsafeBufferPointer<DeltaBuffer.Token>, sendsTokenIDs: Bool
  ) {
    self.index = index
    self.text = text
    self.tokens = tokens
    var count = 0
    var idsSize = 0
    for token in tokens where token.id >= 0 {
      count += 1
      if sendsTokenIDs { idsSize += varintSize(UInt64(token.id)) }
    }
    tokenCount = count
    tokenIDsSize = idsSize
    deltaSize =
      (index == 0 ? 0 : 1 + varintSize(UInt64(index))) + Self.size(text.count)
      + Self.size(idsSize)
  }

  /// Of a field of so many bytes, which is left out if it has none.
  private static func size(_ count: Int) -> Int {
    count == 0 ? 0 : 1 + varintSize(UInt64(count)) + count
  }

  package func encodedSize(_ head: Head?) -> Int {
    let size = 1 + varintSize(UInt64(deltaSize)) + deltaSize
    guard let head else { return size }
    return size + 2 + varintSize(UInt64(head.generation)) + varintSize(head.sequence)
  }

  /// - Parameter memory: exactly `encodedSize(head)` bytes.
  package func encode(_ head: Head?, into memory: UnsafeMutableRawBufferPointer) {
    var writer = WireWriter(memory)
    if let head {
      writer.tag(WireType.tag(Field.frameGeneration, WireType.varint))
      writer.varint(UInt64(head.generation))
      writer.tag(WireType.tag(Field.frameSequence, WireType.varint))
      writer.varint(head.sequence)
    }
    let field = head == nil ? Field.responseDelta : Field.frameDelta
    writer.tag(WireType.tag(field, WireType.lengthDelimited))
    writer.varint(UInt64(deltaSize))
    if index != 0 {
      writer.tag(WireType.tag(Field.index, WireType.varint))
      writer.varint(UInt64(index))
    }
    if !text.isEmpty {
      writer.tag(WireType.tag(Field.text, WireType.lengthDelimited))
      writer.lengthDelimited(text)
    }
    guard tokenIDsSize > 0 else { return }
    writer.tag(WireType.tag(Field.tokenIDs, WireType.lengthDelimited))
    writer.varint(UInt64(tokenIDsSize))
    for token in tokens where token.id >= 0 { writer.varint(UInt64(token.id)) }
  }
}
