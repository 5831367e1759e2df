// SPDX-License-Identifier: Apache-2.0

import Support

/// The tokens of a model and those added to it: names, ids and the bytes they stand for.
struct Vocabulary {
  /// As far as ids may go, so that a wrong one cannot ask for all memory.
  static let idMax: Int32 = 1 << 24

  /// Name to id as in the file; names are compared as bytes.
  private let model: JSONObject
  let addedTokens: [AddedToken]
  private var addedByName: [[UInt8]: Int32] = [:]
  /// By id.
  private var entries: [Entry]
  private var storage: [UInt8] = []

  private enum Kind: UInt8 { case absent, model, added, control }

  /// What is asked of a token that comes, in one place.
  private struct Entry {
    /// Its bytes lie in `storage` from the end of the token before it to here.
    var end: UInt32 = 0
    var kind = Kind.absent
    /// Whether they are whole characters of UTF-8.
    var isText = false
  }

  var modelCount: Int { model.count }

  /// One more than the largest id. (A model may have more rows than that.)
  var count: Int { entries.count }

  /// - Parameter model: of the checked form `{name: id}`.
  init(model: JSONObject, added: [AddedToken]) throws(TokenizerError) {
    self.model = model
    addedTokens = added
    let top = max(
      model.members.lazy.compactMap { $0.value.integerValue }.max() ?? -1,
      added.lazy.map { Int($0.id) }.max() ?? -1)
    guard top <= Int(Self.idMax) else {
      throw TokenizerError("a token has the id \(top); at most \(Self.idMax) is supported")
    }
    entries = Array(repeating: Entry(), count: top + 1)
    var bytes = try Self.modelBytes(model, &entries)
    for token in added { try add(token, &bytes) }
    try store(bytes)
  }

  private mutating func store(_ bytes: [[UInt8]]) throws(TokenizerError) {
    let size = bytes.lazy.map(\.count).reduce(0, +)
    guard size <= UInt32.max else {
      throw TokenizerError("the tokens have \(size) bytes; at most \(UInt32.max) are supported")
    }
    storage.reserveCapacity(size)
    for (id, token) in bytes.enumerated() {
      storage += token
      entries[id].end = UInt32(storage.count)
      entries[id].isText = String(validating: token, as: UTF8.self) != nil
    }
  }

  private static func modelBytes(
    _ model: JSONObject, _ entries: inout [Entry]
  ) throws(TokenizerError) -> [[UInt8]] {
    var bytes = [[UInt8]](repeating: [], count: entries.count)
    for member in model.members {
      let id = Int(try JSONReader(member.value, path: "model.vocab['\(member.key)']").id())
      guard entries[id].kind == .absent else {
        throw TokenizerError("model.vocab['\(member.key)'] is \(id), the id of another token too")
      }
      entries[id].kind = .model
      bytes[id] = ByteAlphabet.bytes(of: member.key) ?? Array(member.key.utf8)
    }
    return bytes
  }

  private mutating func add(_ token: AddedToken, _ bytes: inout [[UInt8]]) throws(TokenizerError) {
    let id = Int(token.id)
    let known = modelToken(token.content)
    guard known == nil ? entries[id].kind == .absent : known == token.id else {
      throw TokenizerError(
        "added_tokens: '\(token.content)' has the id \(id); "
          + (known.map { "model.vocab gives it \($0)" } ?? "another token has it too"))
    }
    guard addedByName.updateValue(token.id, forKey: Array(token.content.utf8)) == nil else {
      throw TokenizerError("added_tokens holds '\(token.content)' twice")
    }
    if known == nil { bytes[id] = Array(token.content.utf8) }
    entries[id].kind = token.isControl ? .control : .added
  }

  /// The id of a token of the model.
  func modelToken(_ name: String) -> Int32? {
    model[name]?.integerValue.flatMap(Int32.init(exactly:))
  }

  /// Names and ids of the model's tokens.
  var modelTokens: some Sequence<(String, Int32)> {
    model.members.lazy.map { ($0.key, Int32(truncatingIfNeeded: $0.value.integerValue ?? 0)) }
  }

  /// The id of an added token or a token of the model, by its name in the file.
  func token(_ name: String) -> Int32? {
    addedByName[Array(name.utf8)] ?? modelToken(name)
  }

  func isAdded(_ id: Int32) -> Bool { kind(id) == .added || kind(id) == .control }

  func isControl(_ id: Int32) -> Bool { kind(id) == .control }

  func holds(_ id: Int32) -> Bool { kind(id) != .absent }

  private func kind(_ id: Int32) -> Kind {
    entries.indices.contains(Int(id)) ? entries[Int(id)].kind : .absent
  }

  /// The bytes that a token stands for; none for an id without a token.
  func bytes(of id: Int32) -> ArraySlice<UInt8> {
    guard entries.indices.contains(Int(id)) else { return [] }
    let start = id == 0 ? 0 : entries[Int(id) - 1].end
    return storage[Int(start)..<Int(entries[Int(id)].end)]
  }

  /// Whether those bytes are whole characters of UTF-8.
  func isText(_ id: Int32) -> Bool {
    entries.indices.contains(Int(id)) && entries[Int(id)].isText
  }
}
