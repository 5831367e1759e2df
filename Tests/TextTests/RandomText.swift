// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// Texts that tokenizers stumble over, the same in each run.
struct RandomText {
  private var generator: SeededGenerator
  /// Added tokens of the tokenizer under test.
  private let names: [String]

  init(seed: UInt64, names: [String]) {
    generator = SeededGenerator(seed: seed)
    self.names = names
  }

  mutating func next() -> String {
    let count = Int.random(in: 1...10, using: &generator)
    return (0..<count).map { _ in fragment() }.joined()
  }

  private static let spaces =
    Array(
      "\t\n\u{B}\u{C}\r \u{1C}\u{1F}\u{85}\u{A0}\u{1680}\u{180E}\u{2000}\u{2003}\u{200A}\u{200B}"
        .unicodeScalars)
    + Array(
      "\u{2028}\u{2029}\u{202F}\u{205F}\u{2060}\u{3000}\u{FEFF}\0"
        .unicodeScalars)
  private static let words = [
    "Hello", " world", "don't", "I'LL", "we'Re", "'s", "'S", "'ſ", "'ve", "'d", "'T", "it’s",
    "foo_bar", "CamelCase", "x86", "naïve", "Straße", " ﬁn", "ǅ", "İstanbul", "ıß", "ÅÅK",
    "=>", "...", "!!!", "()", "[]{}", "--", "://", "\\n", "\"'`", "<|", "|>", "<｜", "｜>",
    "你好", "世界", "龥龦", "ぁゟ゠ヿㄅ", "、。「」", "안녕", "ᄀᄀᆨ", "퟿", "ࠀ",
    "सभी", "กำลัง", "العربية", "עִבְרִית", "\u{202E}abc\u{202C}", "Ελληνικά", "ΐΰ",
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "1️⃣", "Ⅷ", "½", "²", "٣٤٥", "१२३", "𝟘𝟙𝟚", "一二三", "㊿",
    "\r\n", "\n\n", "\n\r", " \n", "\t\t", "  ", "   ", "       ", "e\u{301}", "\u{301}e",
    "a\u{328}\u{301}", "q\u{307}\u{323}", "\u{1E9B}\u{323}", "\u{212B}", "\u{2126}", "\u{F900}",
    "\u{0958}", "\u{1D15E}", "\u{FB1D}", "<think>", "</think>", "a</think>\n\n",
  ]

  private mutating func fragment() -> String {
    switch Int.random(in: 0..<16, using: &generator) {
    case 0, 1, 2, 3: return Self.words.randomElement(using: &generator) ?? ""
    case 4: return names.randomElement(using: &generator) ?? ""
    case 5: return nearMiss()
    case 6: return run()
    case 7, 8: return scalars(0x20...0x7E)
    case 9: return scalars(0x80...0x24F)
    case 10: return scalars(0x300...0x36F, countMax: 4)
    case 11: return scalars(0x250...0xFFFF)
    case 12: return scalars(0x1_0000...0x3_FFFF)
    case 13: return scalars(0...0x10_FFFF)
    case 14: return String(Int.random(in: 0...99_999_999, using: &generator))
    default: return space()
    }
  }

  private mutating func scalars(_ range: ClosedRange<UInt32>, countMax: Int = 8) -> String {
    var text = String.UnicodeScalarView()
    for _ in 0..<Int.random(in: 1...countMax, using: &generator) {
      if let scalar = Unicode.Scalar(UInt32.random(in: range, using: &generator)) {
        text.append(scalar)
      }
    }
    return String(text)
  }

  private mutating func space() -> String {
    var text = String.UnicodeScalarView()
    for _ in 0..<Int.random(in: 1...5, using: &generator) {
      text.append(Self.spaces.randomElement(using: &generator) ?? " ")
    }
    return String(text)
  }

  private mutating func run() -> String {
    let unit = Self.words.randomElement(using: &generator) ?? "a"
    return String(repeating: unit, count: Int.random(in: 2...40, using: &generator))
  }

  /// An added token with one character dropped, doubled or changed.
  private mutating func nearMiss() -> String {
    var text = Array(names.randomElement(using: &generator) ?? "<|x|>")
    let index = Int.random(in: 0..<text.count, using: &generator)
    switch Int.random(in: 0..<3, using: &generator) {
    case 0: text.remove(at: index)
    case 1: text.insert(text[index], at: index)
    default: text[index] = "x"
    }
    return String(text)
  }
}
