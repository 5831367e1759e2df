// SPDX-License-Identifier: Apache-2.0

package import Support

/// Typed access to the members of a JSON object of a configuration file.
///
/// `null` counts as absent, as in Hugging Face's files. Every error names file, key, value and
/// what was expected.
package struct ConfigurationFields: Sendable {
  /// Of counts and sizes; with it, a product of two always fits 64 bits.
  package static let integerMax = 1 << 30

  /// The path of the file, for messages.
  package let file: String
  /// What leads from the file's root to this object, for messages: "rope_scaling." or nothing.
  private let prefix: String
  private let object: JSONObject

  init(file: String, prefix: String = "", object: JSONObject) {
    self.file = file
    self.prefix = prefix
    self.object = object
  }

  /// Reads a file that holds one JSON object.
  package init(contentsOf path: String) throws(CheckpointError) {
    let file = try MappedFile(path: path)
    try self.init(file: path, parsing: file.bytes)
  }

  /// Reads one JSON object; `file` is what messages call it.
  package init(file: String, parsing bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    let json: JSON
    do { json = try JSON(parsing: bytes) } catch {
      throw CheckpointError("\(file) is not valid JSON: \(error)")
    }
    guard let object = json.objectValue else {
      throw CheckpointError("\(file) holds \(json.kind), expected an object")
    }
    self.init(file: file, object: object)
  }

  /// Whether the key is there and not null.
  package func has(_ key: String) -> Bool { value(key) != nil }

  // MARK: Integers

  package func integer(_ key: String, _ range: ClosedRange<Int>) throws(CheckpointError) -> Int {
    guard let value = try optionalInteger(key, range) else {
      throw invalid(key, expected: Self.description(of: range))
    }
    return value
  }

  package func integer(_ key: String, _ range: PartialRangeFrom<Int>) throws(CheckpointError)
    -> Int
  {
    try integer(key, range.lowerBound...Self.integerMax)
  }

  package func integer(_ key: String, _ range: PartialRangeFrom<Int>, default: Int)
    throws(CheckpointError) -> Int
  {
    try optionalInteger(key, range) ?? `default`
  }

  package func optionalInteger(_ key: String, _ range: PartialRangeFrom<Int>)
    throws(CheckpointError) -> Int?
  {
    try optionalInteger(key, range.lowerBound...Self.integerMax)
  }

  package func optionalInteger(_ key: String, _ range: ClosedRange<Int>) throws(CheckpointError)
    -> Int?
  {
    guard let value = value(key) else { return nil }
    guard let integer = Self.integer(value), range.contains(integer) else {
      throw invalid(key, expected: Self.description(of: range))
    }
    return integer
  }

  /// One integer or a list of them, none negative: token ids. Empty if absent.
  package func integers(_ key: String) throws(CheckpointError) -> [Int] {
    guard let value = value(key) else { return [] }
    var integers: [Int] = []
    for element in value.arrayValue ?? [value] {
      guard let integer = Self.integer(element), (0...Self.integerMax).contains(integer) else {
        throw invalid(key, expected: "an integer of at least 0, or a list of them")
      }
      integers.append(integer)
    }
    return integers
  }

  // MARK: Numbers, booleans, strings

  package func float(_ key: String, above bound: Double) throws(CheckpointError) -> Double {
    guard let value = try optionalFloat(key, above: bound) else {
      throw invalid(key, expected: "a number above \(bound)")
    }
    return value
  }

  package func float(_ key: String, above bound: Double, default: Double) throws(CheckpointError)
    -> Double
  {
    try optionalFloat(key, above: bound) ?? `default`
  }

  package func optionalFloat(_ key: String, above bound: Double) throws(CheckpointError)
    -> Double?
  {
    guard let value = value(key) else { return nil }
    guard let number = value.numberValue, number > bound, Float(number).isFinite else {
      throw invalid(key, expected: "a number above \(bound)")
    }
    return number
  }

  package func optionalFloat(_ key: String, atLeast bound: Double) throws(CheckpointError)
    -> Double?
  {
    guard let value = value(key) else { return nil }
    guard let number = value.numberValue, number >= bound, Float(number).isFinite else {
      throw invalid(key, expected: "a number of at least \(bound)")
    }
    return number
  }

  package func bool(_ key: String, default: Bool) throws(CheckpointError) -> Bool {
    try optionalBool(key) ?? `default`
  }

  package func optionalBool(_ key: String) throws(CheckpointError) -> Bool? {
    guard let value = value(key) else { return nil }
    guard let bool = value.boolValue else { throw invalid(key, expected: "true or false") }
    return bool
  }

  package func string(_ key: String) throws(CheckpointError) -> String {
    guard let string = try optionalString(key) else { throw invalid(key, expected: "a string") }
    return string
  }

  package func string(_ key: String, default: String) throws(CheckpointError) -> String {
    try optionalString(key) ?? `default`
  }

  package func optionalString(_ key: String) throws(CheckpointError) -> String? {
    guard let value = value(key) else { return nil }
    guard let string = value.stringValue else { throw invalid(key, expected: "a string") }
    return string
  }

  /// A list of strings; empty if absent.
  package func strings(_ key: String) throws(CheckpointError) -> [String] {
    guard let value = value(key) else { return [] }
    var strings: [String] = []
    for element in value.arrayValue ?? [.null] {
      guard let string = element.stringValue else {
        throw invalid(key, expected: "a list of strings")
      }
      strings.append(string)
    }
    return strings
  }

  // MARK: Objects and errors

  /// The object of that key; nil if absent.
  package func fields(_ key: String) throws(CheckpointError) -> ConfigurationFields? {
    guard let value = value(key) else { return nil }
    guard let object = value.objectValue else { throw invalid(key, expected: "an object") }
    return ConfigurationFields(file: file, prefix: "\(prefix)\(key).", object: object)
  }

  /// The keys and values that this object holds, null ones left out.
  func members() -> [JSONObject.Member] { object.members.filter { !$0.value.isNull } }

  /// The error that says what the key holds and what was expected instead.
  package func invalid(_ key: String, expected: String, code: ErrorCode = .failedPrecondition)
    -> CheckpointError
  {
    let name = "\(file): \(prefix)\(key)"
    guard let value = value(key) else {
      return CheckpointError("\(name) is missing, expected \(expected)", code: code)
    }
    let text = value.description
    let shown = text.count > 80 ? "\(text.prefix(80))…" : text
    return CheckpointError("\(name) holds \(shown), expected \(expected)", code: code)
  }

  private func value(_ key: String) -> JSON? {
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }

  /// An integer, also where the file writes it as 4096.0.
  private static func integer(_ value: JSON) -> Int? {
    value.integerValue ?? value.numberValue.flatMap { Int(exactly: $0) }
  }

  private static func description(of range: ClosedRange<Int>) -> String {
    range.upperBound == integerMax
      ? "an integer of at least \(range.lowerBound)"
      : "an integer from \(range.lowerBound) to \(range.upperBound)"
  }
}
