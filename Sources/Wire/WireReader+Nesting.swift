// SPDX-License-Identifier: Apache-2.0

extension WireReader {
  /// What `leave` puts back.
  @usableFromInline
  struct Outer {
    @usableFromInline let end: Int
    @usableFromInline let tag: UInt32

    @inlinable
    init(end: Int, tag: UInt32) {
      self.end = end
      self.tag = tag
    }
  }

  /// Confines the reader to the message that begins here with its length.
  @inlinable
  mutating func enter() throws(WireError) -> Outer {
    let length = try length()
    guard depthLeft > 0 else { throw error(.depthLimit(depthMax)) }
    let outer = Outer(end: end, tag: tag)
    end = position + length
    depthLeft -= 1
    return outer
  }

  /// Goes on behind the message, which was read to its end.
  @inlinable
  mutating func leave(_ outer: Outer) {
    depthLeft += 1
    end = outer.end
    tag = outer.tag
  }

  /// Passes over a field that is not known, or has another wire type than it should.
  public mutating func skip(_ tag: UInt32) throws(WireError) {
    if tag & 7 == WireType.startGroup {
      try skipGroup(tag)
    } else {
      try skipValue(tag)
    }
  }

  private mutating func skipValue(_ tag: UInt32) throws(WireError) {
    switch tag & 7 {
    case WireType.varint: _ = try varint()
    case WireType.fixed64: _ = try fixed(UInt64.self)
    case WireType.lengthDelimited: _ = try lengthDelimited()
    case WireType.fixed32: _ = try fixed(UInt32.self)
    case WireType.endGroup: throw error(.groupEnd)
    default: throw error(.unknownWireType)
    }
  }

  /// Passes over a group and the groups in it, with a list instead of recursion.
  private mutating func skipGroup(_ start: UInt32) throws(WireError) {
    let outerTag = tag
    var open = [start]
    while let innermost = open.last {
      guard open.count <= depthLeft else { throw error(.depthLimit(depthMax)) }
      guard let next = try nextTag() else { throw error(.truncated) }
      switch next & 7 {
      case WireType.startGroup: open.append(next)
      case WireType.endGroup:
        guard next >> 3 == innermost >> 3 else { throw error(.groupEnd) }
        open.removeLast()
      default: try skipValue(next)
      }
    }
    tag = outerTag
  }

  /// A varint of more than one byte. Bits over 64 are dropped, as other libraries do.
  ///
  /// - Parameters:
  ///   - byteCountMax: 10; or 5 for what must fit in 32 bits.
  ///   - problem: what is wrong when the value does not fit in 32 bits.
  @usableFromInline
  mutating func longVarint(
    byteCountMax: Int = 10, over problem: WireError.Problem = .varintTooLong
  ) throws(WireError) -> UInt64 {
    var value: UInt64 = 0
    let count = min(byteCountMax, end - position)
    for index in 0..<count {
      let byte = UInt64(bytes[position + index])
      value |= (byte & 0x7F) << UInt64(7 * index)
      guard byte >= 0x80 else {
        guard byteCountMax == 10 || value <= UInt32.max else { throw error(problem) }
        position += index + 1
        return value
      }
    }
    throw error(count < byteCountMax ? .truncated : problem)
  }
}
