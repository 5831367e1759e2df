// SPDX-License-Identifier: Apache-2.0

import Support

/// What a `tokenizer.json` holds, checked. Whatever would make another result than Hugging Face
/// `tokenizers` and is not supported is refused by name.
struct TokenizerFile {
  let vocabulary: Vocabulary
  let model: BytePairModel
  let normalizer: Normalizer
  let preTokenizers: [PreTokenizer]

  init(_ json: JSON) throws(TokenizerError) {
    let root = JSONReader(json, path: "")
    _ = try JSONReader(json, path: "the document").object()
    normalizer = try Self.normalizer(root["normalizer"])
    preTokenizers = try Self.preTokenizers(root["pre_tokenizer"])
    try Self.checkDecoder(root["decoder"])
    let model = root["model"]
    let settings = try BytePairModel.Settings(model)
    var added: [AddedToken] = []
    for entry in try root["added_tokens"].array() { added.append(try Self.addedToken(entry)) }
    vocabulary = try Vocabulary(model: try model["vocab"].object(), added: added)
    guard case .array(let merges)? = model["merges"].value else {
      throw model["merges"].expected("an array")
    }
    self.model = try BytePairModel(settings, merges: merges, vocabulary: vocabulary)
  }

  private static func addedToken(_ entry: JSONReader) throws(TokenizerError) -> AddedToken {
    let isSpecial = try entry["special"].bool(default: false)
    let content = try entry["content"].string()
    guard !content.isEmpty else { throw TokenizerError("\(entry.path).content is empty") }
    return AddedToken(
      id: try entry["id"].id(), content: content, isSpecial: isSpecial,
      stripsLeft: try entry["lstrip"].bool(default: false),
      stripsRight: try entry["rstrip"].bool(default: false),
      isSingleWord: try entry["single_word"].bool(default: false),
      isNormalized: try entry["normalized"].bool(default: !isSpecial))
  }

  private static func normalizer(_ entry: JSONReader) throws(TokenizerError) -> Normalizer {
    guard entry.value != nil else { return .none }
    switch try entry["type"].string() {
    case "NFC": return .nfc
    case "Sequence":
      var result = Normalizer.none
      for part in try entry["normalizers"].array() {
        if case .nfc = try normalizer(part) { result = .nfc }
      }
      return result
    case let kind: throw unsupported(entry, kind, "NFC, Sequence and null are")
    }
  }

  /// The stages in order; the last one is a ByteLevel.
  private static func preTokenizers(_ entry: JSONReader) throws(TokenizerError) -> [PreTokenizer] {
    var entries: [JSONReader] = []
    try flatten(entry, "pretokenizers", into: &entries)
    guard let last = entries.last, try last["type"].string() == "ByteLevel" else {
      throw TokenizerError(
        .unimplemented, "pre_tokenizer does not end with ByteLevel; byte-level BPE is supported")
    }
    var stages: [PreTokenizer] = []
    for (index, stage) in entries.enumerated() {
      stages.append(try preTokenizer(stage, isLast: index == entries.count - 1))
    }
    return stages
  }

  private static func flatten(
    _ entry: JSONReader, _ list: String, into entries: inout [JSONReader]
  ) throws(TokenizerError) {
    guard entry.value != nil else { return }
    guard try entry["type"].string() == "Sequence" else { return entries.append(entry) }
    for part in try entry[list].array() { try flatten(part, list, into: &entries) }
  }

  private static func preTokenizer(
    _ entry: JSONReader, isLast: Bool
  ) throws(TokenizerError) -> PreTokenizer {
    switch try entry["type"].string() {
    case "Split": return try split(entry)
    case "Digits":
      return .digits(areIndividual: try entry["individual_digits"].bool(default: false))
    case "ByteLevel" where isLast:
      let splits = try entry["use_regex"].bool(default: true)
      return .byteLevel(
        addsPrefixSpace: try entry["add_prefix_space"].bool(default: true),
        splits ? try RegularExpression(oniguruma: PreTokenizer.byteLevelPattern) : nil)
    case "ByteLevel":
      throw TokenizerError(.unimplemented, "\(entry.path) is a ByteLevel that is not the last")
    case let kind: throw unsupported(entry, kind, "Split, Digits, ByteLevel and Sequence are")
    }
  }

  private static func split(_ entry: JSONReader) throws(TokenizerError) -> PreTokenizer {
    let name = try entry["behavior"].string()
    guard let behavior = SplitBehavior(rawValue: name) else {
      throw unsupported(
        entry["behavior"], name,
        "Isolated, Removed, MergedWithPrevious, MergedWithNext and Contiguous are")
    }
    let expression: RegularExpression
    if let literal = try entry["pattern"]["String"].optionalString() {
      expression = try RegularExpression(literal: literal)
    } else {
      let pattern = try entry["pattern"]["Regex"].string()
      do {
        expression = try RegularExpression(oniguruma: pattern)
      } catch {
        throw TokenizerError(error.code, "\(entry.path).pattern: \(error.message)")
      }
    }
    return .split(expression, behavior, isInverted: try entry["invert"].bool(default: false))
  }

  /// Tokens stand for bytes, so all that a decoder may do is join them.
  private static func checkDecoder(_ entry: JSONReader) throws(TokenizerError) {
    var entries: [JSONReader] = []
    try flatten(entry, "decoders", into: &entries)
    guard entries.count == 1 else {
      throw TokenizerError(
        .unimplemented, "decoder has \(entries.count) stages; one of type ByteLevel is supported")
    }
    let kind = try entries[0]["type"].string()
    guard kind == "ByteLevel" else { throw unsupported(entries[0], kind, "ByteLevel is") }
  }

  private static func unsupported(
    _ entry: JSONReader, _ kind: String, _ supported: String
  ) -> TokenizerError {
    TokenizerError(
      .unimplemented, "\(entry.path) has the type '\(kind)'; \(supported) supported")
  }
}
