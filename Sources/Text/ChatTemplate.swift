// SPDX-License-Identifier: Apache-2.0

import Support

/// How a family of models writes a conversation as a prompt.
///
/// Hugging Face ships templates as Jinja programs; these are the ones of the families served here,
/// written out, and recognised by what the program's text holds. Renderings equal Jinja's.
package struct ChatTemplate: Hashable, Sendable {
  /// The shape of a turn.
  package enum Style: Hashable, Sendable {
    /// DeepSeek-LLM and V2: "User: …\n\nAssistant: …".
    case deepSeekV2
    /// V2.5, V3, R1 and the distilled models: `<｜User｜>…<｜Assistant｜>…`.
    case deepSeekV3
    /// V3.1: as V3, and each answer starts with `<think>` or `</think>`.
    case deepSeekV31
    /// Qwen2: `<|im_start|>user\n…<|im_end|>\n`.
    case chatML
    /// Llama 3: `<|start_header_id|>user<|end_header_id|>\n\n…<|eot_id|>`.
    case llama3
  }

  package var style: Style
  /// The system message of a conversation that has none (ChatML).
  var defaultSystemMessage: String?
  /// Several system messages are joined by an empty line; else the last one counts (V3).
  var joinsSystemMessages = false
  /// Past answers lose what is before the last `</think>` (R1).
  var dropsReasoning = false
  /// The answer starts inside of thinking: the prompt ends with `<think>\n` (R1).
  var opensThinking = false

  /// A template by the Jinja program that it stands for.
  ///
  /// - Throws: an error that says so if the program is none of those known.
  package init(recognizing program: String) throws(TokenizerError) {
    style = try Self.style(of: program)
    switch style {
    case .deepSeekV3, .deepSeekV31:
      joinsSystemMessages = program.holds("is_first_sp")
      dropsReasoning = program.holds("split('</think>')")
      opensThinking = style == .deepSeekV3 && program.holds("<｜Assistant｜><think>\\n")
    case .chatML: defaultSystemMessage = Self.chatMLSystemMessage(of: program)
    case .deepSeekV2, .llama3: break
    }
  }

  private static func style(of program: String) throws(TokenizerError) -> Style {
    // Qwen3 rewrites past turns and switches thinking; Llama 3.1 adds dates.
    if program.holds("enable_thinking") || program.holds("Cutting Knowledge Date") {
      throw unknown(program)
    }
    if program.holds("<|im_start|>") { return .chatML }
    if program.holds("<|start_header_id|>") { return .llama3 }
    if program.holds("<｜User｜>") && program.holds("<｜Assistant｜>") {
      return program.holds("thinking is defined") ? .deepSeekV31 : .deepSeekV3
    }
    if program.holds("'User: '") && program.holds("Assistant:") { return .deepSeekV2 }
    throw unknown(program)
  }

  /// The system message that the program itself writes.
  private static func chatMLSystemMessage(of program: String) -> String? {
    for tail in program.split(at: "'<|im_start|>system\\n").dropFirst() {
      let text = tail.split(at: "<|im_end|>")[0]
      // A quote would mean that the program puts the caller's message here.
      if text != tail && !text.holds("'") {
        return text.split(at: "\\n").joined(separator: "\n")
      }
    }
    return nil
  }

  /// The template of a configuration.
  static func recognized(_ program: String?) -> Result<ChatTemplate, TokenizerError> {
    guard let program else {
      return .failure(
        TokenizerError(
          .failedPrecondition,
          "the model has no chat template: tokenizer_config.json has no chat_template and there "
            + "is no chat_template.jinja"))
    }
    return Result { () throws(TokenizerError) in try ChatTemplate(recognizing: program) }
  }

  private static func unknown(_ program: String) -> TokenizerError {
    TokenizerError(
      .unimplemented,
      "chat_template starts with '\(program.prefix(60))' and is none of the known templates: "
        + "DeepSeek-V2, V3, R1, V3.1, Qwen2 (ChatML) and Llama 3")
  }
}

extension String {
  /// Whether a text is part of this one, as bytes compare.
  func holds(_ text: String) -> Bool { utf8.firstRange(of: text.utf8) != nil }

  /// What lies between the occurrences of a separator, as bytes compare; at least one text.
  func split(at separator: String) -> [String] {
    utf8.split(separator: separator.utf8, omittingEmptySubsequences: false)
      .map { String(Substring($0)) }
  }
}
