// SPDX-License-Identifier: Apache-2.0

/// The frames in the bytes that a client of HTTP/2 sends, whatever pieces they come in.
struct FrameReader {
  struct Head {
    var size = 0
    var kind: UInt8 = 0
    var flags: UInt8 = 0
    var stream: UInt32 = 0

    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let resetStream: UInt8 = 3
    static let settings: UInt8 = 4
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9

    var endsStream: Bool { flags & 1 != 0 }
    /// Of settings and pings.
    var isAcknowledgement: Bool { flags & 1 != 0 }
    var endsHeaders: Bool { flags & 4 != 0 }
  }

  enum Piece {
    case head(Head)
    /// Some of the payload of the frame with this head.
    case payload(Head, Slice<UnsafeRawBufferPointer>)
  }

  private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
  static let headBytes = 9

  private var prefaceCount = 0
  /// What does not begin as HTTP/2 does, such as TLS, or what a server sends, is not looked at.
  private var isForeign = false
  private var headCount = 0
  private var head = Head()
  private var payloadLeft = 0

  /// Takes the next piece from the bytes; nil if they are used up before there is one.
  mutating func next(from bytes: inout Slice<UnsafeRawBufferPointer>) -> Piece? {
    while prefaceCount < Self.preface.count {
      guard !isForeign, let byte = bytes.popFirst() else { return nil }
      isForeign = byte != Self.preface[prefaceCount]
      prefaceCount += 1
    }
    guard !isForeign else { return nil }
    if payloadLeft > 0 {
      let piece = bytes.prefix(payloadLeft)
      guard !piece.isEmpty else { return nil }
      bytes = bytes.dropFirst(piece.count)
      payloadLeft -= piece.count
      return .payload(head, piece)
    }
    while headCount < Self.headBytes {
      guard let byte = bytes.popFirst() else { return nil }
      add(byte)
      headCount += 1
    }
    let whole = head
    payloadLeft = whole.size
    headCount = 0
    // For the payload it stays; the next one begins with its size.
    return .head(whole)
  }

  private mutating func add(_ byte: UInt8) {
    switch headCount {
    case 0: head = Head(size: Int(byte))
    case 1, 2: head.size = head.size << 8 | Int(byte)
    case 3: head.kind = byte
    case 4: head.flags = byte
    case 5: head.stream = UInt32(byte & 0x7F)
    default: head.stream = head.stream << 8 | UInt32(byte)
    }
  }
}
