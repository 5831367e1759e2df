// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing

extension EndToEnd {
  /// `silica tokenize`, in all its ways, beside Hugging Face's tokenizers.
  @Suite struct TokenizeTests {
    private static let texts = [
      "Hello, world", " two  spaces\tand a tab", "naïve café — 東京 🙂🇩🇪", "<｜User｜>Hi<｜Assistant｜>",
      "1234567890", "a\u{301}\u{FE0F}", "",
    ]

    private func tokenize(_ arguments: String...) throws -> Command.Result {
      try SilicaCommand.run(["tokenize", "--model", TestModel.tiny] + arguments)
    }

    /// What Hugging Face's tokenizers give for the lines of a file.
    private func expected(_ lines: String) throws -> JSON {
      let program = """
        import json, sys, tokenizers
        tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
        lines = open(sys.argv[2], encoding="utf-8", newline="\\n").read().split("\\n")[:-1]
        encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        print(json.dumps([encode(line) for line in lines]))
        """
      let result = try PythonProcess.run(["-c", program, "\(TestModel.tiny)/tokenizer.json", lines])
      #expect(result.status == 0, "\(result.errors)")
      return try result.json
    }

    @Test func `lines of a file are encoded as Hugging Face encodes them`() throws {
      let folder = try TemporaryDirectory()
      let file = folder.path("lines")
      try (Self.texts.joined(separator: "\n") + "\n").write(
        toFile: file, atomically: true, encoding: .utf8)
      let result = try tokenize("--file", file, "--lines")
      #expect(result.status == 0, "\(result.errors)")
      let lines = result.output.split(separator: "\n").joined(separator: ",")
      let ids = try Array("[\(lines)]".utf8).withUnsafeBytes { try JSON(parsing: $0) }
      #expect(try ids.description == expected(file).description)
    }

    @Test func `text, file and standard input give the same`() throws {
      let folder = try TemporaryDirectory()
      let file = folder.path("text")
      let text = "one line\nanother – with <｜User｜>\n"
      try text.write(toFile: file, atomically: true, encoding: .utf8)
      let byText = try tokenize("--text", text)
      #expect(byText.status == 0)
      #expect(try byText.json.arrayValue?.isEmpty == false)
      #expect(try tokenize("--file", file).output == byText.output)
      let command = "'\(try SilicaCommand.path())' tokenize --model '\(TestModel.tiny)' --file -"
      let byInput = try Command.run("/bin/sh", ["-c", "\(command) < '\(file)'"])
      #expect(byInput.output == byText.output)
    }

    @Test func `decoding gives the text back`() throws {
      for text in Self.texts where !text.isEmpty {
        let ids = try tokenize("--text", text).output.filter { $0.isNumber || $0 == "," }
        #expect(try tokenize("--decode", ids).output == text + "\n")
      }
    }

    @Test func `untrusted text holds no control tokens`() throws {
      let trusted = try tokenize("--text", "<｜User｜>").json.arrayValue ?? []
      let untrusted = try tokenize("--text", "<｜User｜>", "--untrusted").json.arrayValue ?? []
      #expect(trusted.count == 1)
      #expect(untrusted.count > 1)
      #expect(!untrusted.compactMap(\.integerValue).contains(trusted[0].integerValue ?? -1))
      let ids = untrusted.compactMap(\.integerValue).map(String.init).joined(separator: ",")
      #expect(try tokenize("--decode", ids).output == "<｜User｜>\n")
    }

    @Test func `what cannot be tokenised is named`() throws {
      let missing = try tokenize("--file", "/nowhere/text")
      #expect(missing.status == 1 && missing.errors.contains("/nowhere/text"))
      let folder = try TemporaryDirectory()
      try Data([0x61, 0xFF]).write(to: URL(filePath: folder.path("bytes")))
      let binary = try tokenize("--file", folder.path("bytes"))
      #expect(binary.status == 1 && binary.errors.contains("UTF-8"))
      let outside = try tokenize("--decode", "99999999")
      #expect(outside.status == 1 && outside.errors.contains("99999999"))
    }
  }
}
