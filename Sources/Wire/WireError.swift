// SPDX-License-Identifier: Apache-2.0

public import Support

/// Why bytes are not the message that was expected.
public struct WireError: Error, Hashable {
  /// What is wrong.
  public enum Problem: Hashable, Sendable {
    /// A value goes on past the end of its message, or of the bytes.
    case truncated
    /// A varint is longer than its kind may be.
    case varintTooLong
    /// A length is larger than any message may be.
    case lengthTooLarge
    /// A field has the number 0.
    case fieldNumberZero
    /// A field has wire type 6 or 7, which do not exist.
    case unknownWireType
    /// A group ends that did not begin, or another one than the innermost.
    case groupEnd
    /// A text is not UTF-8.
    case invalidUTF8
    /// A packed field's length is no multiple of its element's.
    case packedLength
    /// Messages lie inside each other deeper than the limit.
    case depthLimit(Int)
    /// The message is larger than the limit.
    case sizeLimit(bytes: Int, limit: Int)
  }

  public let problem: Problem
  /// Where the reader was, in bytes from the beginning of the outermost message.
  public let offset: Int
  /// The innermost message, as in the proto file: "silica.v1.Delta". Empty until it is known.
  public private(set) var messageName = ""
  /// Its field, as in the proto file; the number of a field that is unknown; empty between fields.
  public private(set) var fieldName = ""

  public init(_ problem: Problem, at offset: Int) {
    self.problem = problem
    self.offset = offset
  }

  fileprivate var explanation: String {
    switch problem {
    case .truncated: "the value goes on past the end of its message"
    case .varintTooLong: "a varint is too long; at most 10 bytes are allowed, and 5 in a tag"
    case .lengthTooLarge: "a length is over 2147483647"
    case .fieldNumberZero: "a field has the number 0; the least is 1"
    case .unknownWireType: "a field has wire type 6 or 7; only 0 to 5 exist"
    case .groupEnd: "a group ends that is not open"
    case .invalidUTF8: "the text is not valid UTF-8"
    case .packedLength: "the length of a packed field is no multiple of its element's size"
    case .depthLimit(let limit): "messages are nested deeper than the limit of \(limit)"
    case .sizeLimit(let bytes, let limit): "\(bytes) bytes are over the limit of \(limit)"
    }
  }

  /// The error with its place, unless a message further in has named it already.
  public func named<M: Message>(_ type: M.Type, tag: UInt32) -> WireError {
    guard messageName.isEmpty else { return self }
    var named = self
    named.messageName = M.messageName
    let number = tag >> 3
    if number != 0 {
      named.fieldName = M.fieldNames.first { $0.key == number }?.value ?? "\(number)"
    }
    return named
  }
}

/// Operating errors are the package's own; the error itself is public for the sake of inlining.
extension WireError: OperatingError {
  package var code: ErrorCode {
    switch problem {
    case .depthLimit, .sizeLimit: .resourceExhausted
    default: .invalidArgument
    }
  }

  package var message: String { description }

  public var description: String {
    let place = fieldName.isEmpty ? messageName : "\(messageName).\(fieldName)"
    return "\(place): \(explanation), at byte \(offset)"
  }
}
