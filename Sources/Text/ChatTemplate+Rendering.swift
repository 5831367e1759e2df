// SPDX-License-Identifier: Apache-2.0

import Support

/// A rendered conversation.
package struct ChatPrompt: Hashable, Sendable {
  /// A part of a prompt.
  package enum Piece: Hashable, Sendable {
    /// A token of the template, by its name.
    case token(String)
    /// Text in which no token is looked for: all of what messages hold, and what the template
    /// writes next to it.
    case text(String)
  }

  /// Never two texts in a row: what touches is encoded as one, as Hugging Face does.
  package private(set) var pieces: [Piece] = []

  /// What Jinja renders.
  package var text: String {
    pieces.map { piece in
      switch piece {
      case .token(let text), .text(let text): text
      }
    }.joined()
  }

  mutating func add(token name: String) { pieces.append(.token(name)) }

  mutating func add(token name: String?) {
    if let name { pieces.append(.token(name)) }
  }

  mutating func add(_ text: String) {
    if text.isEmpty { return }
    if case .text(let before)? = pieces.last {
      pieces[pieces.count - 1] = .text(before + text)
    } else {
      pieces.append(.text(text))
    }
  }
}

extension ChatTemplate {
  /// Writes a conversation as a prompt.
  ///
  /// - Parameters:
  ///   - tokens: names the tokens around a text.
  ///   - thinking: whether the model is to think first; nil for its own custom. Only V3.1 has both.
  ///   - addGenerationPrompt: whether the prompt ends with the start of an answer.
  package func render(
    _ messages: [ChatMessage], tokens: TokenizerConfiguration, thinking: Bool? = nil,
    addGenerationPrompt: Bool = true
  ) throws(TokenizerError) -> ChatPrompt {
    guard !messages.isEmpty else {
      throw TokenizerError("chat.messages is empty; expected at least one message")
    }
    try check(thinking: thinking)
    var prompt = ChatPrompt()
    switch style {
    case .deepSeekV2: renderV2(messages, tokens, addGenerationPrompt, into: &prompt)
    case .deepSeekV3: renderV3(messages, tokens, addGenerationPrompt, into: &prompt)
    case .deepSeekV31:
      renderV31(messages, tokens, thinking ?? false, addGenerationPrompt, into: &prompt)
    case .chatML: renderChatML(messages, addGenerationPrompt, into: &prompt)
    case .llama3: renderLlama3(messages, tokens, addGenerationPrompt, into: &prompt)
    }
    return prompt
  }

  /// Whether answers start with thinking where a template has no switch; R1 models always think.
  private var alwaysThinks: Bool { opensThinking || dropsReasoning }

  private func check(thinking: Bool?) throws(TokenizerError) {
    guard let thinking, style != .deepSeekV31, thinking != alwaysThinks else { return }
    throw TokenizerError(
      "chat.thinking is \(thinking); this model's template \(alwaysThinks ? "always" : "never") "
        + "asks it to think")
  }

  private func renderV2(
    _ messages: [ChatMessage], _ tokens: TokenizerConfiguration, _ addGenerationPrompt: Bool,
    into prompt: inout ChatPrompt
  ) {
    prompt.add(token: tokens.bosToken)
    for message in messages {
      switch message.role {
      case .system: prompt.add(message.content + "\n\n")
      case .user: prompt.add("User: " + message.content + "\n\n")
      case .assistant:
        prompt.add("Assistant: " + message.content)
        prompt.add(token: tokens.eosToken)
      }
    }
    if addGenerationPrompt { prompt.add("Assistant:") }
  }

  private func renderV3(
    _ messages: [ChatMessage], _ tokens: TokenizerConfiguration, _ addGenerationPrompt: Bool,
    into prompt: inout ChatPrompt
  ) {
    prompt.add(token: tokens.bosToken)
    prompt.add(systemMessage(of: messages))
    for message in messages where message.role != .system {
      guard message.role == .assistant else {
        prompt.add(token: "<｜User｜>")
        prompt.add(message.content)
        continue
      }
      let parts = dropsReasoning ? message.content.split(at: "</think>") : [message.content]
      prompt.add(token: "<｜Assistant｜>")
      prompt.add(parts[parts.count - 1])
      prompt.add(token: "<｜end▁of▁sentence｜>")
    }
    guard addGenerationPrompt else { return }
    prompt.add(token: "<｜Assistant｜>")
    guard opensThinking else { return }
    prompt.add(token: "<think>")
    prompt.add("\n")
  }

  private func renderV31(
    _ messages: [ChatMessage], _ tokens: TokenizerConfiguration, _ thinking: Bool,
    _ addGenerationPrompt: Bool, into prompt: inout ChatPrompt
  ) {
    prompt.add(token: tokens.bosToken)
    prompt.add(systemMessage(of: messages))
    // Only an answer that follows a question gets a header.
    var followsUser = false
    for message in messages where message.role != .system {
      if message.role == .user {
        prompt.add(token: "<｜User｜>")
        prompt.add(message.content)
        followsUser = true
        continue
      }
      if followsUser {
        prompt.add(token: "<｜Assistant｜>")
        prompt.add(token: "</think>")
      }
      followsUser = false
      let parts = message.content.split(at: "</think>")
      prompt.add(parts.count == 1 ? parts[0] : parts.dropFirst().joined(separator: "</think>"))
      prompt.add(token: "<｜end▁of▁sentence｜>")
    }
    guard addGenerationPrompt && followsUser else { return }
    prompt.add(token: "<｜Assistant｜>")
    prompt.add(token: thinking ? "<think>" : "</think>")
  }

  private func systemMessage(of messages: [ChatMessage]) -> String {
    let texts = messages.filter { $0.role == .system }.map(\.content)
    return joinsSystemMessages ? texts.joined(separator: "\n\n") : texts.last ?? ""
  }

  private func renderChatML(
    _ messages: [ChatMessage], _ addGenerationPrompt: Bool, into prompt: inout ChatPrompt
  ) {
    var messages = messages
    if messages[0].role != .system, let text = defaultSystemMessage {
      messages.insert(ChatMessage(role: .system, content: text), at: 0)
    }
    for message in messages {
      prompt.add(token: "<|im_start|>")
      prompt.add("\(message.role.rawValue)\n\(message.content)")
      prompt.add(token: "<|im_end|>")
      prompt.add("\n")
    }
    guard addGenerationPrompt else { return }
    prompt.add(token: "<|im_start|>")
    prompt.add("assistant\n")
  }

  private func renderLlama3(
    _ messages: [ChatMessage], _ tokens: TokenizerConfiguration, _ addGenerationPrompt: Bool,
    into prompt: inout ChatPrompt
  ) {
    func addHeader(_ role: ChatMessage.Role) {
      prompt.add(token: "<|start_header_id|>")
      prompt.add(role.rawValue)
      prompt.add(token: "<|end_header_id|>")
      prompt.add("\n\n")
    }
    prompt.add(token: tokens.bosToken)
    for message in messages {
      addHeader(message.role)
      prompt.add(message.content.trimmedAsInPython())
      prompt.add(token: "<|eot_id|>")
    }
    if addGenerationPrompt { addHeader(.assistant) }
  }
}

extension Tokenizer {
  /// The tokens of a conversation, by the model's template. What a message holds never becomes an
  /// added token.
  package func encode(
    chat messages: [ChatMessage], thinking: Bool? = nil, addGenerationPrompt: Bool = true
  ) throws(TokenizerError) -> [Int32] {
    let prompt = try chatTemplate.get().render(
      messages, tokens: configuration, thinking: thinking,
      addGenerationPrompt: addGenerationPrompt)
    var ids: [Int32] = []
    for piece in prompt.pieces {
      switch piece {
      case .text(let text): ids += try encode(text, addedTokens: .plain)
      case .token(let name):
        guard let id = token(name) else {
          throw TokenizerError(
            .failedPrecondition,
            "the chat template needs the token '\(name)', which the tokenizer does not hold")
        }
        ids.append(id)
      }
    }
    return ids
  }
}

extension String {
  /// Without white space at both ends, as Python's `strip` sees it.
  fileprivate func trimmedAsInPython() -> String {
    func isSpace(_ scalar: Unicode.Scalar) -> Bool {
      scalar.properties.isWhitespace || 0x1C...0x1F ~= scalar.value
    }
    let scalars = unicodeScalars
    guard let first = scalars.firstIndex(where: { !isSpace($0) }),
      let last = scalars.lastIndex(where: { !isSpace($0) })
    else { return "" }
    return String(scalars[first...last])
  }
}
