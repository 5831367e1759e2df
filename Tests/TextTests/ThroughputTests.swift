// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing
import Text

/// Speed, against Hugging Face in the same run: prints figures when SILICA_MEASURE is set.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["SILICA_MEASURE"] != nil))
struct ThroughputTests {
  @Test("Encoding is measured against Hugging Face", arguments: ["deepseek-v3", "qwen2", "llama3"])
  func encodes(name: String) throws {
    let topics = try PythonProcess.run([
      "-c", "import pydoc_data.topics as t; print(*t.topics.values())",
    ]).output
    let tokenizer = try Fixtures.tokenizer(name)
    let oracle = try TokenizerOracle()
    let chinese = "深度求索的模型把文字切成词元，再一个一个地预测下去。今天天气很好，我们去公园散步吧。\n"
    let texts = [("English", topics), ("Chinese", String(repeating: chinese, count: 6_000))]
    for (kind, text) in texts {
      let bytes = Double(text.utf8.count) / 1e6
      var best = Double.infinity
      for _ in 0..<3 {
        let start = ContinuousClock.now
        _ = try tokenizer.encode(text)
        best = min(best, (ContinuousClock.now - start) / .seconds(1))
      }
      let theirs =
        try (0..<3).map { _ in
          try oracle.time(text, file: Fixtures.path(name))
        }.min() ?? 0
      FileHandle.standardError.write(
        Data("\(name) \(kind): \(bytes / best) MB/s, tokenizers \(bytes / theirs) MB/s\n".utf8))
    }
  }

  @Test("Loading a vocabulary of 128,000 tokens is measured") func loads() throws {
    let folder = try TemporaryDirectory()
    let file = try Fixtures.variant(of: "deepseek-v3", in: folder) { json in
      var vocabulary = json["model"]?["vocab"]?.objectValue ?? JSONObject()
      var merges = json["model"]?["merges"]?.arrayValue ?? []
      let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".map(String.init)
      var words = letters
      while vocabulary.count < 128_000 {
        var longer: [String] = []
        for word in words {
          for letter in letters where vocabulary.count < 128_000 {
            if vocabulary.append(word + letter, .integer(10_000 + vocabulary.count)) {
              merges.append([.string(word), .string(letter)])
              longer.append(word + letter)
            }
          }
        }
        words = longer
      }
      json.set(["model", "vocab"], .object(vocabulary))
      json.set(["model", "merges"], .array(merges))
      json.set(["added_tokens"], [])
    }
    let start = ContinuousClock.now
    let tokenizer = try Tokenizer(contentsOf: file)
    let took = ContinuousClock.now - start
    FileHandle.standardError.write(Data("\(tokenizer.vocabularySize) tokens: \(took)\n".utf8))
    #expect(took < .seconds(1))
  }
}
