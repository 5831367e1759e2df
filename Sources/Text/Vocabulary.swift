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
  private var kinds: [Kind]
  /// The bytes of token `id` are `storage[ends[id - 1]..<ends[id]]`.
  private var storage: [UInt8] = []
  private var ends: [Int] = []

  private enum Kind: UInt8 { case absent, model, added, control }

  var modelCount: Int { model.count }

  /// One more than the largest id. (A model may have more rows than that.)
  var count: Int { kinds.count }

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
    kinds = Array(repeating: .absent, count: top + 1)
    var bytes = try Self.modelBytes(model, &kinds)
    for token in added { try add(token, &bytes) }
    storage.reserveCapacity(bytes.lazy.map(\.count).reduce(0, +))
    for token in bytes {
      storage += token
      ends.append(storage.count)
    }
  }

  private static func modelBytes(
    _ model: JSONObject, _ kinds: inout [Kind]
  ) throws(TokenizerError) -> [[UInt8]] {
    var bytes = [[UInt8]](repeating: [], count: kinds.count)
    for member in model.members {
      let id = Int(try JSONReader(member.value, path: "model.vocab['\(member.key)']").id())
      guard kinds[id] == .absent else {
        throw TokenizerError("model.vocab['\(member.key)'] is \(id), the id of another token too")
      }
      kinds[id] = .model
      bytes[id] = ByteAlphabet.bytes(of: member.key) ?? Array(member.key.utf8)
    }
    return bytes
  }

  private mutating func add(_ token: AddedToken, _ bytes: inout [[UInt8]]) throws(TokenizerError) {
    let id = Int(token.id)
    let known = modelToken(token.content)
    guard known == nil ? kinds[id] == .absent : known == token.id else {
      throw TokenizerError(
        "added_tokens: '\(token.content)' has the id \(id); "
          + (known.map { "model.vocab gives it \($0)" } ?? "another token has it too"))
    }
    guard addedByName.updateValue(token.id, forKey: Array(token.content.utf8)) == nil else {
      throw TokenizerError("added_tokens holds '\(token.content)' twice")
    }
    if known == nil { bytes[id] = Array(token.content.utf8) }
    kinds[id] = token.isControl ? .control : .added
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
    id >= 0 && Int(id) < kinds.count ? kinds[Int(id)] : .absent
  }

  /// The bytes that a token stands for; none for an id without a token.
  func bytes(of id: Int32) -> ArraySlice<UInt8> {
    guard id >= 0, Int(id) < ends.count else { return [] }
    return storage[(id == 0 ? 0 : ends[Int(id) - 1])..<ends[Int(id)]]
  }
}
