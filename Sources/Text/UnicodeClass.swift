// SPDX-License-Identifier: Apache-2.0

import CPCRE2

/// Sets of characters by general category, as Oniguruma sees them.
///
/// Tokenizers depend on which characters are letters, and each library knows the Unicode version
/// it was built with: PCRE2 10.42 that of 2021, the Swift library a newer one than the Oniguruma
/// of Hugging Face `tokenizers`. So the sets are made here, from Swift's tables without the
/// characters that Oniguruma does not know yet.
enum UnicodeClass {
  typealias Version = (major: Int, minor: Int)

  /// The version of the Oniguruma in `tokenizers` 0.23.
  static let version: Version = (16, 0)

  /// The set that `\p{name}` names, in the syntax of PCRE2's bracketed classes and without the
  /// brackets; nil if no general category has that name.
  static func members(of name: String, negated: Bool) -> String? {
    guard categories.contains(where: { $0.value.hasPrefix(name) }), name.count <= 2 else {
      return nil
    }
    if negated { return text(complement(ranges(of: name))) }
    if libraryVersion == version { return "\\p{\(name)}" }
    // A newer PCRE2 knows too many, and what is not assigned shrinks with each version.
    if libraryVersion > version || name.hasPrefix("C") { return text(ranges(of: name)) }
    return "\\p{\(name)}" + text(joined(newCharacters[name] ?? []))
  }

  /// White space: the property of that name. (PCRE2 adds U+180E, as Unicode did before 6.3.)
  static let whiteSpace =
    #"\t-\r\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"#

  /// All other characters.
  static let nonWhiteSpace = #"\S\x{180E}"#

  /// Characters of the category, in order.
  private static func ranges(of name: String) -> [ClosedRange<UInt32>] {
    // Planes 4 to 13 are empty, which only the names of categories of nothing ask for.
    let values = UInt32(0)...0x10FFFF
    return joined(
      values.lazy.filter { value in
        if 0x40000..<0xE0000 ~= value && !name.hasPrefix("C") { return false }
        guard let scalar = Unicode.Scalar(value) else { return false }
        return categories[category(of: scalar)]?.hasPrefix(name) == true
      })
  }

  /// The category that Oniguruma sees.
  static func category(of scalar: Unicode.Scalar) -> Unicode.GeneralCategory {
    let isKnown = scalar.properties.age.map { $0 <= version } ?? false
    return isKnown ? scalar.properties.generalCategory : .unassigned
  }

  /// By category, and by its first letter: the characters that PCRE2 does not know yet.
  private static let newCharacters: [String: [UInt32]] = {
    var characters: [String: [UInt32]] = [:]
    for value in UInt32(0x80)..<0x40000 {
      guard let scalar = Unicode.Scalar(value), let age = scalar.properties.age,
        age > libraryVersion, age <= version, let name = categories[category(of: scalar)]
      else { continue }
      characters[name, default: []].append(value)
      characters[String(name.prefix(1)), default: []].append(value)
    }
    return characters
  }()

  private static func joined(_ values: some Sequence<UInt32>) -> [ClosedRange<UInt32>] {
    var ranges: [ClosedRange<UInt32>] = []
    for value in values {
      if let last = ranges.last, last.upperBound + 1 == value {
        ranges[ranges.count - 1] = last.lowerBound...value
      } else {
        ranges.append(value...value)
      }
    }
    return ranges
  }

  private static func complement(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
    var result: [ClosedRange<UInt32>] = []
    var next: UInt32 = 0
    for range in ranges {
      if range.lowerBound > next { result.append(next...range.lowerBound - 1) }
      next = range.upperBound + 1
    }
    if next <= 0x10FFFF { result.append(next...0x10FFFF) }
    return result
  }

  private static func text(_ ranges: [ClosedRange<UInt32>]) -> String {
    func escape(_ value: UInt32) -> String { "\\x{\(String(value, radix: 16))}" }
    return ranges.map { range in
      range.count == 1
        ? escape(range.lowerBound) : "\(escape(range.lowerBound))-\(escape(range.upperBound))"
    }.joined()
  }

  /// The Unicode version of the PCRE2 that is loaded.
  private static let libraryVersion: Version = {
    var buffer = [UInt8](repeating: 0, count: 64)
    _ = pcre2_config_8(UInt32(PCRE2_CONFIG_UNICODE_VERSION), &buffer)
    let parts = buffer.prefix { $0 != 0 }.split(separator: UInt8(ascii: "."))
      .map { Int(String(decoding: $0, as: UTF8.self)) ?? 0 }
    return (parts.first ?? 0, parts.count > 1 ? parts[1] : 0)
  }()

  private static let categories: [Unicode.GeneralCategory: String] = [
    .uppercaseLetter: "Lu", .lowercaseLetter: "Ll", .titlecaseLetter: "Lt",
    .modifierLetter: "Lm", .otherLetter: "Lo",
    .nonspacingMark: "Mn", .spacingMark: "Mc", .enclosingMark: "Me",
    .decimalNumber: "Nd", .letterNumber: "Nl", .otherNumber: "No",
    .connectorPunctuation: "Pc", .dashPunctuation: "Pd", .openPunctuation: "Ps",
    .closePunctuation: "Pe", .initialPunctuation: "Pi", .finalPunctuation: "Pf",
    .otherPunctuation: "Po",
    .mathSymbol: "Sm", .currencySymbol: "Sc", .modifierSymbol: "Sk", .otherSymbol: "So",
    .spaceSeparator: "Zs", .lineSeparator: "Zl", .paragraphSeparator: "Zp",
    .control: "Cc", .format: "Cf", .surrogate: "Cs", .privateUse: "Co", .unassigned: "Cn",
  ]
}
