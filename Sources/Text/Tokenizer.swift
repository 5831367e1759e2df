// SPDX-License-Identifier: Apache-2.0

import Support

/// Text to token ids and back, as Hugging Face `tokenizers` does it for byte-level BPE.
///
/// Reads `tokenizer.json` and, beside it, `tokenizer_config.json`. All methods may be called by
/// any number of threads at once.
package final class Tokenizer: Sendable {
  /// Whether text may name added tokens.
  package enum AddedTokens: Sendable {
    /// "<｜User｜>" in the text becomes that token: text of someone who writes the whole prompt.
    case matched
    /// No added token can come out, whatever the text holds: text of someone else.
    case plain
  }

  /// What `tokenizer_config.json` says; empty if there is none.
  package let configuration: TokenizerConfiguration
  /// The template for conversations, or why there is none: that is no error until it is needed.
  package let chatTemplate: Result<ChatTemplate, TokenizerError>
  private let vocabulary: Vocabulary
  private let model: BytePairModel
  private let normalizer: Normalizer
  private let preTokenizers: [PreTokenizer]
  /// Finds the added tokens that are looked for in the text as it is.
  private let rawMatcher: AddedTokenMatcher
  /// Finds those that are looked for in normalized text.
  private let normalizedMatcher: AddedTokenMatcher

  /// Loads the tokenizer of a checkpoint.
  package convenience init(directory: String) throws(TokenizerError) {
    try self.init(
      contentsOf: "\(directory)/tokenizer.json",
      configuration: try TokenizerConfiguration(directory: directory))
  }

  /// Loads a `tokenizer.json`.
  package convenience init(
    contentsOf path: String, configuration: TokenizerConfiguration = TokenizerConfiguration()
  ) throws(TokenizerError) {
    guard let json = try TextFile.json(of: path) else {
      throw TokenizerError(.notFound, "\(path): there is no such file")
    }
    let file: TokenizerFile
    do {
      file = try TokenizerFile(json)
    } catch {
      throw TokenizerError(error.code, "\(path): \(error.message)")
    }
    self.init(file, configuration: configuration)
  }

  init(_ file: TokenizerFile, configuration: TokenizerConfiguration) {
    self.configuration = configuration
    chatTemplate = ChatTemplate.recognized(configuration.chatTemplate)
    vocabulary = file.vocabulary
    model = file.model
    normalizer = file.normalizer
    preTokenizers = file.preTokenizers
    // Of tokens with the same text the first counts, and special ones come first.
    let tokens =
      vocabulary.addedTokens.filter(\.isSpecial)
      + vocabulary.addedTokens.filter { !$0.isSpecial }
    rawMatcher = AddedTokenMatcher(
      tokens.filter { !$0.isNormalized }.map { ($0, Array($0.content.utf8)) })
    let normalizer = normalizer
    normalizedMatcher = AddedTokenMatcher(
      tokens.filter(\.isNormalized).map { ($0, normalizer.normalized(Array($0.content.utf8))) })
  }

  // MARK: Tokens

  /// One more than the largest id. A model may have more rows than that.
  package var vocabularySize: Int { vocabulary.count }

  /// The id of a token by its name: an added token's text, or an entry of the vocabulary.
  package func token(_ name: String) -> Int32? { vocabulary.token(name) }

  /// The bytes that a token stands for, which may be part of a character; none for an id that has
  /// no token.
  package func bytes(of id: Int32) -> ArraySlice<UInt8> { vocabulary.bytes(of: id) }

  /// Whether those bytes are whole characters of UTF-8.
  func isText(_ id: Int32) -> Bool { vocabulary.isText(id) }

  /// Whether a token steers the model instead of being part of an answer: special tokens, and
  /// added ones written like `<｜User｜>` or `<|im_start|>`. `<think>` is part of an answer.
  package func isControlToken(_ id: Int32) -> Bool { vocabulary.isControl(id) }

  /// All control tokens.
  package var controlTokens: [Int32] {
    vocabulary.addedTokens.filter(\.isControl).map(\.id)
  }

  /// The token before a text, if the configuration names one that exists.
  package var bosToken: Int32? { configuration.bosToken.flatMap(token) }

  /// The token behind an answer, if the configuration names one that exists.
  package var eosToken: Int32? { configuration.eosToken.flatMap(token) }

  // MARK: Encoding

  /// The tokens of a text; nothing is put before or behind it, as with Hugging Face's
  /// `encode(text, add_special_tokens=False)`.
  ///
  /// Takes time in proportion to the text, save for patterns that would take longer: those end
  /// with an error.
  package func encode(
    _ text: String, addedTokens: AddedTokens = .matched
  ) throws(TokenizerError) -> [Int32] {
    let bytes = Array(text.utf8)
    var encoder = BytePairEncoder(model, mayUseAddedTokens: addedTokens == .matched)
    let match = try RegularExpression.MatchData()
    var ids: [Int32] = []
    ids.reserveCapacity(bytes.count / 3)
    guard addedTokens == .matched else {
      try encode(normalizer.normalized(bytes), &encoder, match, into: &ids)
      return ids
    }
    for part in rawMatcher.parts(of: bytes) {
      guard case .text(let range) = part else {
        if case .token(let id) = part { ids.append(id) }
        continue
      }
      let normalized = normalizer.normalized(Array(bytes[range]))
      for part in normalizedMatcher.parts(of: normalized) {
        switch part {
        case .token(let id): ids.append(id)
        case .text(let range):
          try encode(Array(normalized[range]), &encoder, match, into: &ids)
        }
      }
    }
    return ids
  }

  private func encode(
    _ normalized: [UInt8], _ encoder: inout BytePairEncoder, _ match: RegularExpression.MatchData,
    into ids: inout [Int32]
  ) throws(TokenizerError) {
    var text = PreTokenizedText(normalized)
    for stage in preTokenizers { try text.apply(stage, using: match) }
    text.bytes.withUnsafeBufferPointer { bytes in
      for piece in text.pieces { encoder.encode(.init(rebasing: bytes[piece]), into: &ids) }
    }
  }

  // MARK: Decoding

  /// The bytes of tokens, joined. They need not be whole characters.
  package func bytes(
    of ids: some Sequence<Int32>, skippingControlTokens: Bool = false
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    for id in ids where !(skippingControlTokens && isControlToken(id)) {
      bytes += vocabulary.bytes(of: id)
    }
    return bytes
  }

  /// The text of tokens; bytes that are no UTF-8 become U+FFFD.
  package func decode(
    _ ids: some Sequence<Int32>, skippingControlTokens: Bool = false
  ) -> String {
    String(decoding: bytes(of: ids, skippingControlTokens: skippingControlTokens), as: UTF8.self)
  }
}
