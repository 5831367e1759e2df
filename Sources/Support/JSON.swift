// SPDX-License-Identifier: Apache-2.0

/// A JSON value (RFC 8259), as `config.json` and `tokenizer.json` hold them.
///
/// Strings are kept exactly: two that differ in bytes are different keys, also where Swift's `==`
/// would call them canonically equivalent.
package enum JSON: Sendable {
  case null
  case bool(Bool)
  /// A number written without fraction and exponent that fits 64 bits.
  case integer(Int)
  /// Any other number; finite.
  case number(Double)
  case string(String)
  case array([JSON])
  case object(JSONObject)

  /// What a document may hold. The largest ones read are headers of safetensors files (100 MB) and
  /// `tokenizer.json` (some 30 MB, five levels deep).
  package struct Limits: Sendable {
    package var byteCountMax = 128 << 20
    /// Arrays and objects inside each other.
    package var depthMax = 64

    package init() {}
  }

  /// Parses one document, strictly: no comments, trailing commas, duplicate keys, lone
  /// surrogates, NaN or infinity, and nothing after the value.
  package init(parsing bytes: UnsafeRawBufferPointer, limits: Limits = Limits())
    throws(JSONError)
  {
    guard bytes.count <= limits.byteCountMax else {
      throw JSONError(
        offset: 0, problem: "\(bytes.count) bytes of JSON; at most \(limits.byteCountMax) are read")
    }
    var parser = JSONParser(
      bytes: bytes.bindMemory(to: UInt8.self), depthMax: limits.depthMax)
    self = try parser.document()
  }

  package init(parsing bytes: [UInt8], limits: Limits = Limits()) throws(JSONError) {
    self = try bytes.withUnsafeBufferPointer { (buffer) throws(JSONError) in
      try JSON(parsing: UnsafeRawBufferPointer(buffer), limits: limits)
    }
  }

  package init(parsing text: String, limits: Limits = Limits()) throws(JSONError) {
    try self.init(parsing: Array(text.utf8), limits: limits)
  }
}

// Each accessor is nil when the value is of another kind.
extension JSON {
  package var isNull: Bool { if case .null = self { true } else { false } }
  package var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
  package var integerValue: Int? { if case .integer(let value) = self { value } else { nil } }
  package var stringValue: String? { if case .string(let value) = self { value } else { nil } }
  package var arrayValue: [JSON]? { if case .array(let value) = self { value } else { nil } }
  package var objectValue: JSONObject? { if case .object(let value) = self { value } else { nil } }

  /// Any number, rounded to a double where it is a large integer.
  package var numberValue: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }

  /// The member of that name; nil if there is none or this is no object.
  package subscript(key: String) -> JSON? { objectValue?[key] }

  /// The kind of value with its article, for messages: "a string".
  package var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer: "an integer"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

/// Why bytes are not JSON.
package struct JSONError: OperatingError {
  /// Where parsing stopped, in bytes from the start.
  package let offset: Int
  /// What was expected and found there.
  package let problem: String

  package var code: ErrorCode { .invalidArgument }
  package var message: String { "\(problem) (at byte \(offset))" }
}
