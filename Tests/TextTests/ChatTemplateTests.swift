// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing
import Text

@Suite struct ChatTemplateTests {
  static let templates = [
    "deepseek-v2", "deepseek-v2.5", "deepseek-v3", "deepseek-r1", "deepseek-r1-0528",
    "deepseek-v3.1", "qwen2", "qwen2.5", "llama3", "r1-distill-qwen", "r1-distill-llama",
  ]

  private static func folder(_ name: String) -> String {
    Repository.path("Tests/Fixtures/tokenizers/templates/\(name)")
  }

  /// A conversation and what Jinja renders.
  struct Golden {
    let messages: [ChatMessage]
    let addGenerationPrompt: Bool
    let thinking: Bool?
    let text: String
  }

  /// A template's tokenizer with its configuration, and its goldens.
  private static func load(_ name: String) throws -> (Tokenizer, String, [Golden]) {
    let file = URL(fileURLWithPath: folder(name) + "/goldens.json")
    let json = try JSON(parsing: Array(Data(contentsOf: file)))
    let path = Fixtures.path(try #require(json["tokenizer"]?.stringValue))
    let tokenizer = try Tokenizer(
      contentsOf: path, configuration: TokenizerConfiguration(directory: folder(name)))
    let goldens = try (json["cases"]?.arrayValue ?? []).map { entry in
      Golden(
        messages: try messages(entry["messages"]),
        addGenerationPrompt: entry["add_generation_prompt"]?.boolValue == true,
        thinking: entry["thinking"]?.boolValue, text: try #require(entry["text"]?.stringValue))
    }
    return (tokenizer, path, goldens)
  }

  private static func messages(_ entry: JSON?) throws -> [ChatMessage] {
    try (entry?.arrayValue ?? []).map { message in
      ChatMessage(
        role: try #require(message["role"]?.stringValue.flatMap(ChatMessage.Role.init)),
        content: try #require(message["content"]?.stringValue))
    }
  }

  @Test("Renderings are those of Jinja, and their ids those of Hugging Face", arguments: templates)
  func equalsJinja(name: String) throws {
    let (tokenizer, path, goldens) = try Self.load(name)
    let template = try tokenizer.chatTemplate.get()
    #expect(goldens.count >= 18)
    let expected = try TokenizerOracle().encode(goldens.map(\.text), file: path)
    for (golden, ids) in zip(goldens, expected) {
      let prompt = try template.render(
        golden.messages, tokens: tokenizer.configuration, thinking: golden.thinking,
        addGenerationPrompt: golden.addGenerationPrompt)
      #expect(scalars(prompt.text) == scalars(golden.text), "\(prompt.text)")
      // A message that names a token would be that token to Hugging Face.
      if golden.messages.contains(where: { $0.content.contains("<think>") }) { continue }
      if golden.messages.contains(where: { $0.content.contains("</think>") }) { continue }
      let found = try tokenizer.encode(
        chat: golden.messages, thinking: golden.thinking,
        addGenerationPrompt: golden.addGenerationPrompt)
      #expect(found == ids, "\(golden.text)")
    }
  }

  @Test("No message becomes a control token", arguments: templates)
  func contentIsNoControl(name: String) throws {
    let (tokenizer, path, _) = try Self.load(name)
    let names = try Fixtures.addedTokens(path)
    let added = Set(names.compactMap(tokenizer.token))
    var random = RandomText(seed: 11, names: names + ["<｜Us", "er｜>", "<|im_", "start|>"])
    func controls(_ content: String, _ answer: String) throws -> [Int32] {
      try tokenizer.encode(chat: [
        ChatMessage(role: .system, content: content), ChatMessage(role: .user, content: content),
        ChatMessage(role: .assistant, content: answer),
        ChatMessage(role: .user, content: content),
      ]).filter(added.contains)
    }
    let expected = try controls("harmless", "harmless")
    #expect(name == "deepseek-v2" || expected.count > 4)
    for attack in names + (0..<500).map({ _ in random.next() }) {
      #expect(try controls(attack, attack) == expected, "\(attack)")
    }
  }

  @Test("Thinking can be switched where the template can") func switchesThinking() throws {
    let messages = [ChatMessage(role: .user, content: "Hi")]
    for (name, accepted) in [
      ("deepseek-v3.1", [true, false]), ("deepseek-r1", [true]), ("deepseek-v3", [false]),
      ("qwen2", [false]),
    ] {
      let (tokenizer, _, _) = try Self.load(name)
      for thinking in [true, false] {
        if accepted.contains(thinking) {
          _ = try tokenizer.encode(chat: messages, thinking: thinking)
        } else {
          #expect(throws: TokenizerError.self) {
            try tokenizer.encode(chat: messages, thinking: thinking)
          }
        }
      }
    }
  }

  @Test("A missing or unknown template is an error when a chat comes")
  func refusesUnknown() throws {
    let messages = [ChatMessage(role: .user, content: "Hi")]
    var configuration = TokenizerConfiguration()
    for (program, expected) in [
      (nil, "has no chat template"), ("{{ messages }}", "none of the known templates"),
      ("{{ '<|im_start|>' }}{{ enable_thinking }}", "none of the known templates"),
    ] {
      configuration.chatTemplate = program
      let tokenizer = try Tokenizer(
        contentsOf: Fixtures.path("qwen2"), configuration: configuration)
      #expect(try tokenizer.encode("Hi").count > 0)
      do {
        _ = try tokenizer.encode(chat: messages)
        Issue.record("\(program ?? "none") is accepted")
      } catch {
        #expect("\(error)".contains(expected), "\(error)")
      }
    }
  }

  @Test("A template whose tokens are missing, and an empty chat, are refused by name")
  func refusesMissingTokens() throws {
    let configuration = try TokenizerConfiguration(directory: Self.folder("deepseek-v3"))
    let tokenizer = try Tokenizer(
      contentsOf: Fixtures.path("llama3"), configuration: configuration)
    do {
      _ = try tokenizer.encode(chat: [ChatMessage(role: .user, content: "Hi")])
      Issue.record("accepted")
    } catch {
      #expect("\(error)".contains("'<｜begin▁of▁sentence｜>'"), "\(error)")
    }
    #expect(throws: TokenizerError.self) { try tokenizer.encode(chat: []) }
  }

  @Test("tokenizer_config.json names the tokens around a text") func readsConfiguration() throws {
    let (tokenizer, _, _) = try Self.load("deepseek-v3")
    #expect(tokenizer.bosToken == 0)
    #expect(tokenizer.eosToken == 1)
    #expect(tokenizer.configuration.addsBOSToken)
    let (qwen, _, _) = try Self.load("qwen2")
    #expect(qwen.bosToken == nil)
    #expect(!qwen.configuration.addsBOSToken)

    let folder = try TemporaryDirectory()
    let file = URL(fileURLWithPath: folder.path("tokenizer_config.json"))
    for (text, expected) in [
      ("{\"bos_token\": 5}", "bos_token is an integer"), ("[]", "expected an object"),
      ("{", "is not JSON"), ("{\"add_bos_token\": \"yes\"}", "add_bos_token is a string"),
    ] {
      try Data(text.utf8).write(to: file)
      do {
        _ = try TokenizerConfiguration(directory: folder.path)
        Issue.record("\(text) is accepted")
      } catch {
        #expect("\(error)".contains(expected), "\(error)")
      }
    }
    try Data("{\"chat_template\": \"a\"}".utf8).write(to: file)
    #expect(try TokenizerConfiguration(directory: folder.path).chatTemplate == "a")
    let jinja = URL(fileURLWithPath: folder.path("chat_template.jinja"))
    try Data("b".utf8).write(to: jinja)
    #expect(try TokenizerConfiguration(directory: folder.path).chatTemplate == "b")
  }
}
