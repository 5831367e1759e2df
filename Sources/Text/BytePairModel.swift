// SPDX-License-Identifier: Apache-2.0

import Support

/// The `model` of a tokenizer file: vocabulary and merges.
struct BytePairModel {
  /// The token of each byte; -1 if there is none.
  let byteTokens: [Int32]
  /// Stands for bytes without a token.
  let unknownToken: Int32?
  /// Whether a run of such bytes is one unknown token.
  let fusesUnknown: Bool
  let merges: MergeTable
  /// The merges without those that make an added token.
  let plainMerges: MergeTable
  /// Tokens that are used for whole pieces before any merge is tried (`ignore_merges`).
  let wholePieces: ByteStringTable?
  /// Those without added tokens.
  let plainWholePieces: ByteStringTable?

  /// - Parameters:
  ///   - model: of type BPE, with its keys checked by `Settings`.
  ///   - vocabulary: see `Vocabulary`.
  init(
    _ settings: Settings, merges lines: [JSON], vocabulary: Vocabulary
  ) throws(TokenizerError) {
    var byteTokens: [Int32] = []
    for character in ByteAlphabet.characters {
      byteTokens.append(vocabulary.modelToken(String(character)) ?? -1)
    }
    self.byteTokens = byteTokens
    fusesUnknown = settings.fusesUnknown
    unknownToken = try Self.unknownToken(settings, vocabulary)
    if unknownToken == nil { try Self.checkAllBytes(byteTokens) }
    (merges, plainMerges) = try Self.mergeTables(lines, vocabulary)
    guard settings.ignoresMerges else {
      (wholePieces, plainWholePieces) = (nil, nil)
      return
    }
    (wholePieces, plainWholePieces) = Self.wholePieceTables(vocabulary)
  }

  private static func unknownToken(
    _ settings: Settings, _ vocabulary: Vocabulary
  ) throws(TokenizerError) -> Int32? {
    guard let name = settings.unknownToken else { return nil }
    if let id = vocabulary.modelToken(name) { return id }
    throw TokenizerError("model.unk_token is '\(name)', which model.vocab does not hold")
  }

  /// Without a token for a byte that UTF-8 uses, text would be lost silently.
  private static func checkAllBytes(_ byteTokens: [Int32]) throws(TokenizerError) {
    let missing = byteTokens.indices.first { byte in
      let isInUTF8 = byte < 0xC0 || 0xC2...0xF4 ~= byte
      return isInUTF8 && byteTokens[byte] < 0
    }
    guard let missing else { return }
    throw TokenizerError(
      "model.vocab holds no token for the byte \(missing) "
        + "('\(ByteAlphabet.characters[missing])') and there is no model.unk_token; "
        + "a byte-level vocabulary holds all bytes")
  }

  private static func mergeTables(
    _ lines: [JSON], _ vocabulary: Vocabulary
  ) throws(TokenizerError) -> (MergeTable, MergeTable) {
    var merges = MergeTable(capacity: lines.count)
    var forbidden = false
    for (rank, line) in lines.enumerated() {
      let (left, right, merge) = try parse(line, rank, vocabulary)
      merges.set(left, right, merge)
      if vocabulary.isAdded(merge.token) { forbidden = true }
    }
    guard forbidden else { return (merges, merges) }
    var plain = MergeTable(capacity: lines.count)
    for (rank, line) in lines.enumerated() {
      let (left, right, merge) = try parse(line, rank, vocabulary)
      if !vocabulary.isAdded(merge.token) { plain.set(left, right, merge) }
    }
    return (merges, plain)
  }

  /// A merge is written "left right" or ["left", "right"].
  private static func parse(
    _ line: JSON, _ rank: Int, _ vocabulary: Vocabulary
  ) throws(TokenizerError) -> (Int32, Int32, MergeTable.Merge) {
    let (left, right) = try names(line, rank)
    guard let leftToken = vocabulary.modelToken(left),
      let rightToken = vocabulary.modelToken(right),
      let token = vocabulary.modelToken(left + right)
    else {
      throw TokenizerError(
        "model.merges[\(rank)] joins '\(left)' and '\(right)'; "
          + "model.vocab must hold both and '\(left + right)'")
    }
    return (leftToken, rightToken, .init(rank: UInt32(rank), token: token))
  }

  private static func names(_ line: JSON, _ rank: Int) throws(TokenizerError) -> (String, String) {
    if case .string(let text) = line {
      let utf8 = text.utf8
      if let space = utf8.firstIndex(of: UInt8(ascii: " ")) {
        let left = String(text[..<space])
        let right = String(text[utf8.index(after: space)...])
        if !right.utf8.contains(UInt8(ascii: " ")) { return (left, right) }
      }
    } else if case .array(let pair) = line, pair.count == 2,
      case .string(let left) = pair[0], case .string(let right) = pair[1]
    {
      return (left, right)
    }
    throw TokenizerError(
      "model.merges[\(rank)] is \(line.kind) of another form than 'left right' "
        + "or ['left', 'right']")
  }

  private static func wholePieceTables(
    _ vocabulary: Vocabulary
  ) -> (ByteStringTable, ByteStringTable) {
    var all = ByteStringTable(capacity: vocabulary.modelCount)
    var plain = ByteStringTable(capacity: vocabulary.modelCount)
    for (name, id) in vocabulary.modelTokens {
      guard let bytes = ByteAlphabet.bytes(of: name) else { continue }
      all.add(bytes, id)
      if !vocabulary.isAdded(id) { plain.add(bytes, id) }
    }
    return (all, plain)
  }
}

extension BytePairModel {
  /// The options of the `model` object.
  struct Settings {
    let unknownToken: String?
    let fusesUnknown: Bool
    let ignoresMerges: Bool

    /// Options that change the result and that no byte-level tokenizer uses are refused.
    init(_ model: JSONReader) throws(TokenizerError) {
      if let kind = try model["type"].optionalString(), kind != "BPE" {
        throw TokenizerError(.unimplemented, "model.type is '\(kind)'; 'BPE' is supported")
      }
      let dropout = model["dropout"].value?.numberValue ?? 0
      guard dropout == 0 else {
        throw TokenizerError(.unimplemented, "model.dropout is \(dropout); null is supported")
      }
      if try model["byte_fallback"].bool(default: false) {
        throw TokenizerError(
          .unimplemented, "model.byte_fallback is true; byte-level BPE has it false")
      }
      for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let affix = try model[key].optionalString() ?? ""
        guard affix.isEmpty else {
          throw TokenizerError(.unimplemented, "model.\(key) is '\(affix)'; '' is supported")
        }
      }
      unknownToken = try model["unk_token"].optionalString()
      fusesUnknown = try model["fuse_unk"].bool(default: false)
      ignoresMerges = try model["ignore_merges"].bool(default: false)
    }
  }
}
