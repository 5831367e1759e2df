// SPDX-License-Identifier: Apache-2.0

import Support

/// Writes the wire format into memory whose size was computed before.
///
/// A message is visited twice: for its size, and to write it. So it is written once, in order, into
/// one buffer of exactly its size, which may be memory that C owns.
public struct WireWriter {
  @usableFromInline let memory: UnsafeMutableRawBufferPointer
  @usableFromInline var position = 0

  /// - Parameter memory: written only during the life of the writer.
  @inlinable
  public init(_ memory: UnsafeMutableRawBufferPointer) { self.memory = memory }

  /// Whether every byte was written.
  @inlinable
  public var isFull: Bool { position == memory.count }

  @inlinable
  public mutating func tag(_ tag: UInt32) { varint(UInt64(tag)) }

  @inlinable
  public mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      byte(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    byte(UInt8(truncatingIfNeeded: rest))
  }

  @inlinable
  mutating func fixed<Bits: FixedWidthInteger & BitwiseCopyable>(_ bits: Bits) {
    reserve(MemoryLayout<Bits>.size)
    memory.storeBytes(of: bits.littleEndian, toByteOffset: position, as: Bits.self)
    position += MemoryLayout<Bits>.size
  }

  /// The length and the bytes.
  @inlinable
  public mutating func lengthDelimited(_ bytes: UnsafeBufferPointer<UInt8>) {
    varint(UInt64(bytes.count))
    reserve(bytes.count)
    UnsafeMutableRawBufferPointer(rebasing: memory[position..<position + bytes.count])
      .copyMemory(from: UnsafeRawBufferPointer(bytes))
    position += bytes.count
  }

  @inlinable
  mutating func byte(_ byte: UInt8) {
    reserve(1)
    memory[position] = byte
    position += 1
  }

  @inlinable
  func reserve(_ count: Int) {
    if memory.count - position < count { Self.sizeIsWrong() }
  }

  /// A message wrote more or less than its encodedSize: a bug of the generator.
  @usableFromInline
  static func sizeIsWrong() -> Never {
    checkFailed("a message wrote other than its encodedSize", file: #fileID, line: #line)
  }
}
