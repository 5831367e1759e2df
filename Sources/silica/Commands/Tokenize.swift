// SPDX-License-Identifier: Apache-2.0

import Glibc
import Text

/// `silica tokenize`.
enum Tokenize: Subcommand {
  static let name = "tokenize"
  static let summary = "turn text into token ids, or ids into text"

  static let options = [
    Option("--model", "DIR", "a folder with tokenizer.json"),
    Option("--text", "TEXT", "the text"),
    Option("--file", "FILE", "a file that holds the text; - is standard input"),
    Option("--lines", nil, "each line is a text of its own; one JSON array a line"),
    Option("--untrusted", nil, "match no added tokens: what a user's text is turned into"),
    Option("--decode", "IDS", "token ids divided by commas, to turn into text"),
  ]

  static let discussion = """
    Prints a JSON array of ids, as Hugging Face's encode(add_special_tokens=False) gives; with
    --decode, the text.

    examples:
      silica tokenize --model DIR --text "Hello"
      silica tokenize --model DIR --decode 19923,3
    """

  static func run(_ arguments: Arguments) throws {
    let inputs = ["--text", "--file", "--decode"].filter(arguments.has)
    guard inputs.count == 1 else {
      throw UsageError("give one of --text, --file and --decode")
    }
    let ids = try arguments.integers("--decode", in: 0...Int(Int32.max))
    let tokenizer = try Tokenizer(directory: try arguments.required("--model"))
    if let ids {
      if let wrong = ids.first(where: { $0 >= tokenizer.vocabularySize }) {
        throw CommandError(
          "--decode holds \(wrong); expected ids from 0 to \(tokenizer.vocabularySize - 1)")
      }
      Console.out(tokenizer.decode(ids.map { Int32($0) }, skippingControlTokens: false) + "\n")
      return
    }
    let text = try arguments.string("--text") ?? read(arguments.required("--file"))
    let texts = arguments.has("--lines") ? lines(of: text) : [text]
    for text in texts {
      let added: Tokenizer.AddedTokens = arguments.has("--untrusted") ? .plain : .matched
      let ids = try tokenizer.encode(text, addedTokens: added)
      Console.out("[\(ids.map(String.init).joined(separator: ", "))]\n")
    }
  }

  /// The lines, each without its newline; a last line need not end in one.
  private static func lines(of text: String) -> [String] {
    var lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    return lines.map { String(decoding: $0, as: UTF8.self) }
  }

  private static func read(_ path: String) throws(CommandError) -> String {
    let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY)
    guard descriptor >= 0 else {
      throw CommandError("cannot read \(path): \(String(cString: strerror(errno)))")
    }
    defer { if path != "-" { close(descriptor) } }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = Glibc.read(descriptor, &buffer, buffer.count), count > 0 {
      bytes += buffer[..<count]
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw CommandError("\(path) is not UTF-8 text")
    }
    return text
  }
}
