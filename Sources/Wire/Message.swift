// SPDX-License-Identifier: Apache-2.0

/// A protobuf message: a plain value that `protoc-gen-silica` writes.
///
/// Fields of a value that this version does not know are skipped when it is decoded.
public protocol Message: Hashable, Sendable {
  /// The full name in the proto file: "silica.v1.Delta".
  static var messageName: String { get }
  /// The names of the fields in the proto file, by number; for error messages.
  static var fieldNames: KeyValuePairs<UInt32, String> { get }

  /// The message whose fields all have their default values.
  init()

  /// The bytes that `write` writes. Cost: one visit of every field.
  var encodedSize: Int { get }

  /// Writes all fields that are set, in the order of their numbers and maps in the order of their
  /// keys, so that equal messages are equal bytes.
  func write(to writer: inout WireWriter)

  /// Reads fields up to the end of `reader`. As in every protobuf library, a singular field takes
  /// its last value, a repeated field grows, and a message field is merged.
  mutating func decode(from reader: inout WireReader) throws(WireError)
}

extension Message {
  /// Decodes a whole message.
  ///
  /// - Parameter bytes: only read during the call.
  @inlinable
  public init(
    decoding bytes: UnsafeRawBufferPointer, limits: WireLimits = WireLimits()
  ) throws(WireError) {
    self.init()
    var reader = WireReader(bytes, limits: limits)
    do {
      try reader.checkSize(limits)
      try decode(from: &reader)
    } catch {
      throw error.named(Self.self, tag: reader.tag)
    }
  }

  /// Decodes a whole message.
  @inlinable
  public init(decoding bytes: [UInt8], limits: WireLimits = WireLimits()) throws(WireError) {
    self = try bytes.withUnsafeBufferPointer { (buffer) throws(WireError) in
      try Self(decoding: UnsafeRawBufferPointer(buffer), limits: limits)
    }
  }

  /// Encodes into memory of the caller.
  ///
  /// - Parameter memory: exactly `encodedSize` bytes.
  @inlinable
  public func encode(into memory: UnsafeMutableRawBufferPointer) {
    var writer = WireWriter(memory)
    write(to: &writer)
    if !writer.isFull { WireWriter.sizeIsWrong() }
  }

  /// The message as bytes. Cost: one allocation.
  @inlinable
  public func encoded() -> [UInt8] {
    let size = encodedSize
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      encode(into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: size))
      count = size
    }
  }

  /// A message built in one expression: `.with { $0.text = "hello" }`.
  @inlinable
  public static func with<E: Error>(_ set: (inout Self) throws(E) -> Void) throws(E) -> Self {
    var message = Self()
    try set(&message)
    return message
  }
}
