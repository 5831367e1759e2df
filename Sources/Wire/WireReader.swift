// SPDX-License-Identifier: Apache-2.0

/// Reads the wire format from raw bytes, which outlive it. Every read is checked against the end of
/// the innermost message.
///
/// Its verdict on bad input is that of the C++, Python and upb implementations, and its tests
/// compare it with theirs.
public struct WireReader {
  @usableFromInline let bytes: UnsafeRawBufferPointer
  /// The next byte.
  @usableFromInline var position = 0
  /// The end of the innermost message.
  @usableFromInline var end: Int
  /// How many messages may still be entered.
  @usableFromInline var depthLeft: Int
  @usableFromInline let depthMax: Int
  /// The field that is being read; 0 between fields.
  @usableFromInline var tag: UInt32 = 0

  /// A reader of a whole message. It refuses nothing yet: see `checkSize`.
  @inlinable
  init(_ bytes: UnsafeRawBufferPointer, limits: WireLimits) {
    self.bytes = bytes
    end = bytes.count
    depthLeft = limits.depthMax
    depthMax = limits.depthMax
  }

  /// Refuses bytes over the limit.
  @inlinable
  func checkSize(_ limits: WireLimits) throws(WireError) {
    if bytes.count > limits.byteCountMax {
      throw error(.sizeLimit(bytes: bytes.count, limit: limits.byteCountMax))
    }
  }

  /// The number and wire type of the next field, as on the wire; nil at the end of the message.
  @inlinable
  public mutating func nextTag() throws(WireError) -> UInt32? {
    tag = 0
    guard position < end else { return nil }
    var next = UInt32(bytes[position])
    if next < 0x80 {
      position += 1
    } else {
      next = UInt32(truncatingIfNeeded: try longVarint(byteCountMax: 5, over: .varintTooLong))
    }
    guard next >> 3 != 0 else { throw error(.fieldNumberZero) }
    tag = next
    return next
  }

  /// A varint of at most 64 bits.
  @inlinable
  mutating func varint() throws(WireError) -> UInt64 {
    guard position < end else { throw error(.truncated) }
    let first = bytes[position]
    if first < 0x80 {
      position += 1
      return UInt64(first)
    }
    return try longVarint()
  }

  /// 4 or 8 bytes, least first.
  @inlinable
  mutating func fixed<Bits: FixedWidthInteger & BitwiseCopyable>(
    _ type: Bits.Type
  ) throws(WireError) -> Bits {
    guard end - position >= MemoryLayout<Bits>.size else { throw error(.truncated) }
    defer { position += MemoryLayout<Bits>.size }
    return Bits(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Bits.self))
  }

  /// A length and that many bytes, valid as long as the memory under the reader.
  @inlinable
  mutating func lengthDelimited() throws(WireError) -> UnsafeRawBufferPointer {
    let length = try length()
    defer { position += length }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + length])
  }

  /// A length that does not go past the end of the message.
  @inlinable
  mutating func length() throws(WireError) -> Int {
    guard position < end else { throw error(.truncated) }
    var length = Int(bytes[position])
    if length < 0x80 {
      position += 1
    } else {
      length = Int(try longVarint(byteCountMax: 5, over: .lengthTooLarge))
      guard length <= Int32.max else { throw error(.lengthTooLarge) }
    }
    guard length <= end - position else { throw error(.truncated) }
    return length
  }

  @inlinable
  func error(_ problem: WireError.Problem) -> WireError { WireError(problem, at: position) }
}
