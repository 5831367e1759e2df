// SPDX-License-Identifier: Apache-2.0

/// Bytes that a client of HTTP/2 sends.
enum HTTP2 {
  enum Kind: UInt8 {
    case data, headers, priority, resetStream, settings, pushPromise, ping, goAway, windowUpdate
    case continuation
  }

  static let endStream: UInt8 = 1
  static let endHeaders: UInt8 = 4
  static let acknowledgement: UInt8 = 1

  static func frame(
    _ kind: Kind, flags: UInt8 = 0, _ stream: UInt32 = 0, _ payload: [UInt8] = []
  ) -> [UInt8] {
    let size = payload.count
    return [UInt8(size >> 16), UInt8(size >> 8 & 255), UInt8(size & 255), kind.rawValue, flags]
      + bytes(of: stream) + payload
  }

  /// The preface, and settings that change nothing.
  static let hello = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(.settings)

  static let acknowledgedSettings = frame(.settings, flags: acknowledgement)

  static func reset(_ stream: UInt32) -> [UInt8] {
    frame(.resetStream, stream, [0, 0, 0, 8])
  }

  /// A call that has no message yet.
  static func call(_ stream: UInt32, _ path: String, ends: Bool = false) -> [UInt8] {
    frame(.headers, flags: endHeaders | (ends ? endStream : 0), stream, headers(path))
  }

  /// 64 pieces of headers, 1000 bytes each, in a frame of their own.
  static func moreHeaders(_ stream: UInt32) -> [UInt8] {
    let value = Array(repeating: UInt8(ascii: "v"), count: 1_000)
    let field: [UInt8] = [0x00, 1, UInt8(ascii: "x"), 0x7F, 0xE9, 0x06] + value
    return Array(repeatElement(frame(.continuation, stream, field), count: 64).joined())
  }

  /// A gRPC message.
  static func message(_ body: [UInt8]) -> [UInt8] { [0] + bytes(of: UInt32(body.count)) + body }

  /// Of a call, as literal fields.
  private static func headers(_ path: String) -> [UInt8] {
    let fields = [
      (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
      ("te", "trailers"), ("content-type", "application/grpc"),
    ]
    return fields.flatMap { name, value in
      [0] + [name, value].flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
    }
  }

  private static func bytes(of number: UInt32) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
  }
}
