// SPDX-License-Identifier: Apache-2.0

/// Recursive-descent parser of RFC 8259 over bytes, one pass. Stack use is bounded by `depthMax`.
struct JSONParser {
  private let bytes: UnsafeBufferPointer<UInt8>
  private let depthMax: Int
  private var position = 0

  init(bytes: UnsafeBufferPointer<UInt8>, depthMax: Int) {
    self.bytes = bytes
    self.depthMax = depthMax
  }

  mutating func document() throws(JSONError) -> JSON {
    skipSpace()
    let value = try value(depth: 0)
    skipSpace()
    guard position == bytes.count else { throw unexpected("nothing after the value") }
    return value
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSON {
    guard let byte = peek() else { throw unexpected("a value") }
    switch byte {
    case Byte.quote: return .string(try string())
    case Byte.openBrace: return .object(try object(depth: depth + 1))
    case Byte.openBracket: return .array(try array(depth: depth + 1))
    case Byte.minus, Byte.digits: return try number()
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    default: throw unexpected("a value")
    }
  }

  // MARK: Arrays and objects

  private mutating func array(depth: Int) throws(JSONError) -> [JSON] {
    try enter(depth: depth)
    var elements: [JSON] = []
    if skip(Byte.closeBracket) { return elements }
    while true {
      elements.append(try value(depth: depth))
      skipSpace()
      if skip(Byte.closeBracket) { return elements }
      guard skip(Byte.comma) else { throw unexpected("',' or ']'") }
      skipSpace()
    }
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSONObject {
    try enter(depth: depth)
    var object = JSONObject()
    if skip(Byte.closeBrace) { return object }
    while true {
      guard peek() == Byte.quote else { throw unexpected("a key in quotes") }
      let keyStart = position
      let key = try string()
      skipSpace()
      guard skip(Byte.colon) else { throw unexpected("':' after the key") }
      skipSpace()
      guard object.append(key, try value(depth: depth)) else {
        throw JSONError(offset: keyStart, problem: "the key \(JSON.string(key)) is there twice")
      }
      skipSpace()
      if skip(Byte.closeBrace) { return object }
      guard skip(Byte.comma) else { throw unexpected("',' or '}'") }
      skipSpace()
    }
  }

  /// Steps over the opening bracket and the space behind it.
  private mutating func enter(depth: Int) throws(JSONError) {
    guard depth <= depthMax else {
      throw JSONError(
        offset: position, problem: "arrays and objects nested deeper than \(depthMax) levels")
    }
    position += 1
    skipSpace()
  }

  // MARK: Strings

  private mutating func string() throws(JSONError) -> String {
    let quote = position
    position += 1
    let start = position
    while let byte = peek() {
      switch byte {
      case Byte.quote:
        position += 1
        return try utf8(UnsafeBufferPointer(rebasing: bytes[start..<position - 1]), from: quote)
      case Byte.backslash: return try escapedString(from: quote)
      case ..<0x20: throw unexpected("an escape instead of a control character")
      default: position += 1
      }
    }
    throw unexpected("'\"' at the end of the string")
  }

  /// The string whose opening quote is at `quote`, from its first escape at `position` on.
  private mutating func escapedString(from quote: Int) throws(JSONError) -> String {
    var text = Array(bytes[(quote + 1)..<position])
    while let byte = peek() {
      switch byte {
      case Byte.quote:
        position += 1
        return try text.withUnsafeBufferPointer { (buffer) throws(JSONError) in
          try utf8(buffer, from: quote)
        }
      case Byte.backslash:
        text.append(contentsOf: String(Character(try escape())).utf8)
      case ..<0x20: throw unexpected("an escape instead of a control character")
      default:
        text.append(byte)
        position += 1
      }
    }
    throw unexpected("'\"' at the end of the string")
  }

  private func utf8(_ text: UnsafeBufferPointer<UInt8>, from quote: Int) throws(JSONError)
    -> String
  {
    guard let string = String(validating: text, as: UTF8.self) else {
      throw JSONError(offset: quote, problem: "a string that is not UTF-8")
    }
    return string
  }

  private mutating func escape() throws(JSONError) -> Unicode.Scalar {
    position += 1
    let code = peek()
    if code == UInt8(ascii: "u") { return try unicodeEscape() }
    let scalar: Unicode.Scalar? =
      switch code {
      case Byte.quote: "\""
      case Byte.backslash: "\\"
      case UInt8(ascii: "/"): "/"
      case UInt8(ascii: "b"): "\u{8}"
      case UInt8(ascii: "f"): "\u{c}"
      case UInt8(ascii: "n"): "\n"
      case UInt8(ascii: "r"): "\r"
      case UInt8(ascii: "t"): "\t"
      default: nil
      }
    guard let scalar else { throw unexpected("one of \"\\/bfnrtu after '\\'") }
    position += 1
    return scalar
  }

  /// `u` and 4 hexadecimal digits; a second escape too where the first is half of a pair.
  private mutating func unicodeEscape() throws(JSONError) -> Unicode.Scalar {
    let start = position - 1
    let high = try codeUnit()
    if let scalar = Unicode.Scalar(high) { return scalar }
    if UTF16.isLeadSurrogate(high), skip(Byte.backslash), peek() == UInt8(ascii: "u") {
      let low = try codeUnit()
      let value = 0x10000 + (UInt32(high & 0x3FF) << 10 | UInt32(low & 0x3FF))
      if UTF16.isTrailSurrogate(low), let scalar = Unicode.Scalar(value) { return scalar }
    }
    throw JSONError(offset: start, problem: "half of a surrogate pair without the other half")
  }

  private mutating func codeUnit() throws(JSONError) -> UInt16 {
    position += 1
    var unit: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = peek(), let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw unexpected("4 hexadecimal digits after '\\u'")
      }
      unit = unit << 4 | UInt16(digit)
      position += 1
    }
    return unit
  }

  // MARK: Numbers and literals

  private mutating func number() throws(JSONError) -> JSON {
    let start = position
    _ = skip(Byte.minus)
    if !skip(UInt8(ascii: "0")) { try digits() }
    var isInteger = true
    if skip(UInt8(ascii: ".")) {
      isInteger = false
      try digits()
    }
    if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
      isInteger = false
      if !skip(UInt8(ascii: "+")) { _ = skip(Byte.minus) }
      try digits()
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger, let value = Int(text) { return .integer(value) }
    guard let value = Double(text), value.isFinite else {
      throw JSONError(offset: start, problem: "a number too large for 64 bits: \(text.prefix(40))")
    }
    return .number(value)
  }

  /// One or more digits.
  private mutating func digits() throws(JSONError) {
    let start = position
    while let byte = peek(), Byte.digits ~= byte { position += 1 }
    guard position > start else { throw unexpected("a digit") }
  }

  private mutating func literal(_ word: StaticString, _ value: JSON) throws(JSONError) -> JSON {
    let end = position + word.utf8CodeUnitCount
    guard end <= bytes.count,
      bytes[position..<end].elementsEqual(
        UnsafeBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
    else { throw unexpected("a value") }
    position = end
    return value
  }

  // MARK: Bytes

  private func peek() -> UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skip(_ byte: UInt8) -> Bool {
    guard peek() == byte else { return false }
    position += 1
    return true
  }

  private mutating func skipSpace() {
    while let byte = peek(), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      position += 1
    }
  }

  private func unexpected(_ expected: String) -> JSONError {
    let found =
      switch peek() {
      case nil: "the end"
      case .some(let byte) where (0x21..<0x7F).contains(byte): "'\(Unicode.Scalar(byte))'"
      case .some(let byte): "the byte 0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    return JSONError(offset: position, problem: "expected \(expected), found \(found)")
  }

  private enum Byte {
    static let quote = UInt8(ascii: "\"")
    static let backslash = UInt8(ascii: "\\")
    static let openBrace = UInt8(ascii: "{")
    static let closeBrace = UInt8(ascii: "}")
    static let openBracket = UInt8(ascii: "[")
    static let closeBracket = UInt8(ascii: "]")
    static let comma = UInt8(ascii: ",")
    static let colon = UInt8(ascii: ":")
    static let minus = UInt8(ascii: "-")
    static let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
  }
}
