// SPDX-License-Identifier: Apache-2.0

import Support

/// What `tokenizer_config.json` says beside the tokenizer itself.
package struct TokenizerConfiguration: Sendable {
  /// `bos_token`: the name of the token before a text.
  package var bosToken: String?
  /// `eos_token`: the name of the token behind an answer.
  package var eosToken: String?
  /// `add_bos_token`: whether Hugging Face puts `bosToken` before a text by itself. Whether a
  /// prompt of the user gets it is the caller's choice: `Tokenizer.encode` never adds it.
  package var addsBOSToken = false
  /// `chat_template`, or `chat_template.jinja` beside it.
  package var chatTemplate: String?

  package init() {}

  /// Reads the files of a directory; what is not there stays empty.
  package init(directory: String) throws(TokenizerError) {
    let path = "\(directory)/tokenizer_config.json"
    do {
      try read(JSONReader(try TextFile.json(of: path), path: ""))
    } catch {
      guard !error.message.hasPrefix(path) else { throw error }
      throw TokenizerError(error.code, "\(path): \(error.message)")
    }
    // The file counts, as in Hugging Face transformers.
    if let template = try TextFile.contents(of: "\(directory)/chat_template.jinja") {
      chatTemplate = String(decoding: template, as: UTF8.self)
    }
  }

  private mutating func read(_ root: JSONReader) throws(TokenizerError) {
    guard root.value != nil else { return }
    _ = try root.object()
    bosToken = try Self.tokenName(root["bos_token"])
    eosToken = try Self.tokenName(root["eos_token"])
    addsBOSToken = try root["add_bos_token"].bool(default: false)
    chatTemplate = try Self.template(root["chat_template"])
  }

  /// A token is written as its name or as an object with `content`.
  private static func tokenName(_ entry: JSONReader) throws(TokenizerError) -> String? {
    if case .object? = entry.value { return try entry["content"].string() }
    return try entry.optionalString()
  }

  /// A template is written as text, or as a list of named ones of which `default` counts.
  private static func template(_ entry: JSONReader) throws(TokenizerError) -> String? {
    guard case .array? = entry.value else { return try entry.optionalString() }
    for named in try entry.array() where try named["name"].string() == "default" {
      return try named["template"].string()
    }
    return nil
  }
}
