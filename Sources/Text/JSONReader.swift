// SPDX-License-Identifier: Apache-2.0

import Support

/// A place in a JSON document that may be empty, and its path for error messages.
struct JSONReader {
  /// The value; nil if there is none or it is null.
  let value: JSON?
  let path: String

  init(_ value: JSON?, path: String) {
    self.value = value?.isNull == true ? nil : value
    self.path = path
  }

  subscript(key: String) -> JSONReader {
    JSONReader(value?[key], path: path.isEmpty ? key : "\(path).\(key)")
  }

  func string() throws(TokenizerError) -> String {
    guard let text = try optionalString() else { throw expected("a string") }
    return text
  }

  func optionalString() throws(TokenizerError) -> String? {
    guard let value else { return nil }
    guard case .string(let text) = value else { throw expected("a string") }
    return text
  }

  func bool(default absent: Bool) throws(TokenizerError) -> Bool {
    guard let value else { return absent }
    guard case .bool(let flag) = value else { throw expected("true or false") }
    return flag
  }

  /// A token id: a number from 0 to 2^31 - 1.
  func id() throws(TokenizerError) -> Int32 {
    guard let number = value?.integerValue, let id = Int32(exactly: number), id >= 0 else {
      throw expected("a token id")
    }
    return id
  }

  /// The elements; none if there is no value.
  func array() throws(TokenizerError) -> [JSONReader] {
    guard let value else { return [] }
    guard case .array(let elements) = value else { throw expected("an array") }
    return elements.enumerated().map { JSONReader($1, path: "\(path)[\($0)]") }
  }

  func object() throws(TokenizerError) -> JSONObject {
    guard case .object(let object)? = value else { throw expected("an object") }
    return object
  }

  func expected(_ what: String) -> TokenizerError {
    TokenizerError("\(path) is \(value.map(\.kind) ?? "missing"); expected \(what)")
  }
}
