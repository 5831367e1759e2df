// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing

extension EndToEnd {
  /// The model that the repository trained: what it knows, and what precisions cost it.
  @Suite struct MiniModelTests {
    private static let model = Repository.path("Models/mini")
    private static let fixture = Repository.path("Tests/Fixtures/mini")

    // MARK: Logits

    /// The last rows of what `silica logits` writes for the stored tokens, as many as are stored.
    private func lastLogits(_ options: [String], rows: Int) throws -> [Float] {
      let json = try String(contentsOfFile: "\(Self.fixture)/tokens.json", encoding: .utf8)
      let tokens = json.filter { !"[] \n".contains($0) }
      let folder = try TemporaryDirectory()
      let result = try SilicaCommand.run(
        ["logits", "--model", Self.model, "--tokens", tokens, "--out", folder.path("logits.npy")]
          + options)
      try #require(result.status == 0, "\(result.errors)")
      let logits = try NumPyArray(contentsOfFile: folder.path("logits.npy"))
      return Array(logits.values.suffix(rows * logits.shape[1]))
    }

    @Test(
      arguments: [["--device", "reference"], ["--device", "cpu", "--precision", "f32"]],
      [("logits", []), ("after_next", ["--after-next"])])
    func `logits equal those of transformers`(
      device: [String], kind: (file: String, options: [String])
    ) throws {
      let expected = try NumPyArray(contentsOfFile: "\(Self.fixture)/\(kind.file).npy")
      let found = try lastLogits(device + kind.options, rows: expected.shape[0])
      let difference = zip(found, expected.values).map { abs($0 - $1) }.max() ?? .nan
      #expect(found.count == expected.values.count && difference <= 2e-4, "\(difference)")
    }

    /// The error of logits, root mean square relative to their deviation, of the median token and
    /// of all. In w8 single ones, probably with other experts, are several times as far as the
    /// median, two of these 16; `make quality` has the mean of thousands.
    @Test(arguments: [("bf16", Float(0.01), Float(0.01)), ("w8", 0.02, 0.04), ("w4", 0.15, 0.15)])
    func `a precision costs no more than it may`(
      precision: String, medianMax: Float, meanMax: Float
    ) throws {
      let expected = try NumPyArray(contentsOfFile: "\(Self.fixture)/logits.npy")
      let found = try lastLogits(["--precision", precision], rows: expected.shape[0])
      let center = expected.values.reduce(0, +) / Float(expected.values.count)
      let deviations = expected.values.map { ($0 - center) * ($0 - center) }
      let variance = deviations.reduce(0, +) / Float(deviations.count)
      let width = expected.shape[1]
      let errors = (0..<expected.shape[0]).map { row in
        let range = row * width..<(row + 1) * width
        let squares = zip(found[range], expected.values[range]).map { ($0 - $1) * ($0 - $1) }
        return (squares.reduce(0, +) / Float(width) / variance).squareRoot()
      }.sorted()
      #expect(errors[errors.count / 2] < medianMax, "\(errors)")
      let mean = errors.map { $0 * $0 }.reduce(0, +) / Float(errors.count)
      #expect(mean.squareRoot() < meanMax, "\(errors)")
    }

    // MARK: Answers

    /// Questions with what a person would answer. The sums, and the verbs with their objects (sell
    /// and sofa, wash and coat), are held out: training did not have them.
    private static let questions = [
      ("What is Silica?", "DeepSeek-family language models"),
      ("What is 1997 + 7720?", "1997 + 7720 = 9717"),
      ("Translate into Chinese: The teacher sold a blue sofa last week.", "老师上周卖了一张蓝色的沙发。"),
      ("翻译成英文:医生明天会洗他的新外套。", "The doctor will wash his new coat tomorrow."),
      ("6418 - 64", "6418 - 64 = 6354"),
      ("How much is 71 times 4?", "71 * 4 = 284"),
      ("Write 4217 in words.", "four thousand two hundred and seventeen"),
    ]

    @Test func `it answers what it was not shown`() throws {
      let result = try SilicaCommand.run(
        ["generate", "--model", Self.model, "--temperature", "0"]
          + Self.questions.flatMap { ["--chat", $0.0] })
      try #require(result.status == 0, "\(result.errors)")
      let texts = Self.texts(result.output)
      #expect(texts.count == Self.questions.count)
      for (text, (question, answer)) in zip(texts, Self.questions) {
        #expect(text.contains(answer), "\(question) is answered by \(text)")
      }
    }

    @Test func `it holds a conversation, and its thoughts are apart`() throws {
      let turns = Self.questions.prefix(4)
      let result = try SilicaCommand.run(
        ["chat", "--model", Self.model, "--temperature", "0"],
        input: turns.map(\.0).joined(separator: "\n") + "\n")
      try #require(result.status == 0, "\(result.errors)")
      let expected = turns.map { "> \($0.0)\n" }
      for (turn, (_, answer)) in zip(expected, turns) {
        let reply = result.output.components(separatedBy: turn).last ?? ""
        #expect(reply.prefix { $0 != ">" }.contains(answer), "\(turn)\(reply)")
      }
      #expect(!result.output.contains("carry") && result.errors.contains("carry"))
    }

    @Test(arguments: ["bf16", "w8", "w4"])
    func `an answer is the same alone and among 32`(precision: String) throws {
      try RunningServer.with(
        model: Self.model, ["--precision", precision, "--max-batch", "32"]
      ) { server in
        let question = "Translate into Chinese: The doctor will go to London by train tomorrow."
        func ask(with others: Int) throws -> String? {
          let result = try SilicaCommand.run(
            ["generate", "--target", server.target, "--temperature", "0", "--chat", question]
              + (0..<others).flatMap { ["--chat", "What is \($0) + 77?"] })
          try #require(result.status == 0, "\(result.errors)")
          // One alone is its text; several are lines.
          return others == 0
            ? result.output.trimmingCharacters(in: .newlines) : Self.texts(result.output).first
        }
        let alone = try #require(try ask(with: 0))
        #expect(!alone.isEmpty)
        #expect(try ask(with: 31) == alone)
      }
    }

    /// What each of several generations answered, from lines as `[1] "…"`.
    private static func texts(_ output: String) -> [String] {
      var texts: [Int: String] = [:]
      for line in output.split(separator: "\n") {
        guard let match = line.firstMatch(of: /^\[(\d+)\] "(.*)"$/), let key = Int(match.1) else {
          continue
        }
        texts[key, default: ""] += match.2
      }
      return texts.sorted { $0.key < $1.key }.map(\.value)
    }
  }
}
