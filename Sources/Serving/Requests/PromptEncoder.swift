// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import Support
internal import Text

/// Turns a checked prompt into tokens. Takes time in proportion to the prompt; any thread.
struct PromptEncoder {
  let model: ServedModel

  func encode(_ prompt: GenerationRequest.Prompt) throws(ServingError) -> [Int32] {
    let tokens = try tokens(of: prompt)
    guard !tokens.isEmpty else {
      throw .invalid("start.input", "start.input has no tokens; expected at least one")
    }
    guard tokens.count < model.contextLength else {
      throw ServingError(
        .invalidArgument,
        "start.input has \(tokens.count) tokens; the context has room for "
          + "\(model.contextLength - 1) and a first answer",
        reason: "PROMPT_TOO_LONG", field: "start.input")
    }
    // A tokenizer may hold more tokens than the model has rows for.
    if let wrong = tokens.first(where: { $0 >= model.vocabularySize }) {
      throw ServingError(
        .outOfRange,
        "start.input has token \(wrong); expected ids from 0 to \(model.vocabularySize - 1)",
        reason: "TOKEN_OUT_OF_RANGE", field: "start.input")
    }
    return tokens
  }

  private func tokens(of prompt: GenerationRequest.Prompt) throws(ServingError) -> [Int32] {
    do {
      return switch prompt {
      case .tokens(let tokens): tokens
      case .text(let text): try model.tokenizer.encode(text, addedTokens: .matched)
      case .chat(let chat):
        try model.tokenizer.encode(
          chat: chat.messages.map(ChatMessage.init),
          thinking: chat.hasThinking ? chat.thinking : nil,
          addGenerationPrompt: chat.hasAddGenerationPrompt ? chat.addGenerationPrompt : true)
      }
    } catch {
      throw ServingError(
        error.code, "start.input: \(error.message)", reason: error.code.name, field: "start.input")
    }
  }
}

extension ChatMessage {
  /// A message whose role has been checked.
  fileprivate init(_ message: Silica_V1_ChatMessage) {
    let role: Role =
      switch message.role {
      case .system: .system
      case .assistant: .assistant
      default: .user
      }
    self.init(role: role, content: message.content)
  }
}
