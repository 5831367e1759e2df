// SPDX-License-Identifier: Apache-2.0

import Support

/// Rewrites a regular expression of Oniguruma, as `tokenizer.json` holds them, for PCRE2.
///
/// The two agree on nearly all that tokenizers use. What means the same is copied, character
/// classes are written out (see `UnicodeClass`), and what means something else or is not known to
/// mean the same is refused, because a tokenizer that is nearly right is wrong. `^` and `$` match
/// at lines in Oniguruma: the compile options in `RegularExpression` see to that.
struct OnigurumaPattern {
  private let source: [Character]
  private var position = 0
  private var result = ""
  private var isInClass = false

  /// The pattern in PCRE2's syntax.
  static func translated(_ pattern: String) throws(TokenizerError) -> String {
    var translator = OnigurumaPattern(source: pattern.unicodeScalars.map(Character.init))
    try translator.run()
    return translator.result
  }

  private init(source: [Character]) { self.source = source }

  private mutating func run() throws(TokenizerError) {
    while let character = next() {
      switch character {
      case "\\": try escape()
      case "[": try openBracket()
      case "]" where isInClass: closeBracket()
      case "&" where isInClass && peek() == "&": try refuse("'&&' in a class")
      case "(" where !isInClass && peek() == "?": try group()
      case "{" where !isInClass: try interval()
      default: result.append(character)
      }
    }
    if isInClass { try refuse("a class without its end") }
  }

  private mutating func openBracket() throws(TokenizerError) {
    if isInClass { try refuse("'[' within a class") }
    isInClass = true
    result += "["
    if peek() == "^" {
      result += "^"
      position += 1
    }
    if peek() == "]" { try refuse("']' at the start of a class") }
  }

  private mutating func closeBracket() {
    isInClass = false
    result += "]"
  }

  /// What follows `(?`: groups that mean the same in both.
  private mutating func group() throws(TokenizerError) {
    for kind in ["?:", "?i:", "?=", "?!", "?<=", "?<!", "?>"] where rest(startsWith: kind) {
      position += kind.count
      result += "(" + kind
      if kind == "?i:" { try checkCaseless() }
      return
    }
    try refuse("the group '(\(String(source[position...].prefix(4)))'")
  }

  /// Oniguruma also lets one character match several, as "ß" and "ss"; PCRE2 does not.
  private func checkCaseless() throws(TokenizerError) {
    var depth = 1
    let group = source[position...].prefix { character in
      depth += character == "(" ? 1 : character == ")" ? -1 : 0
      return depth > 0
    }
    let text = String(group).lowercased()
    guard text.utf8.allSatisfy({ $0 < 0x80 }),
      !["ss", "ff", "fi", "fl", "st"].contains(where: text.holds)
    else { return try refuse("a caseless group with letters that one character may stand for") }
  }

  /// `{n}`, `{n,}` or `{n,m}`; Oniguruma reads `{,m}` and `{n,m}+` in its own way.
  private mutating func interval() throws(TokenizerError) {
    result += "{"
    guard peek()?.isASCIIDigit == true else { return try refuse("'{' without a number") }
    while let character = peek(), character.isASCIIDigit || character == "," {
      result.append(character)
      position += 1
    }
    guard next() == "}" else { return try refuse("'{' without '}'") }
    result += "}"
    if peek() == "+" { try refuse("'+' behind '}'") }
  }

  private mutating func escape() throws(TokenizerError) {
    guard let character = next() else { return try refuse("'\\' at the end") }
    switch character {
    case "s": appendMembers(UnicodeClass.whiteSpace)
    case "S": appendMembers(UnicodeClass.nonWhiteSpace)
    case "d": try category("Nd", negated: false)
    case "D": try category("Nd", negated: true)
    case "p", "P": try property(negated: character == "P")
    case "r", "n", "t", "f", "a", "e": result += "\\\(character)"
    case "v": result += "\\x0B"
    case "x": try hexadecimal()
    case "u": try append(hexadecimal: take(4))
    case let other where other.isASCII && (other.isLetter || other.isNumber):
      try refuse("'\\\(other)'")
    case let other where other.isASCII: result += "\\\(other)"
    default: result.append(character)
    }
  }

  /// What follows `\x`: `{h…}` or `hh`.
  private mutating func hexadecimal() throws(TokenizerError) {
    guard peek() == "{" else { return try append(hexadecimal: take(2)) }
    position += 1
    var digits = ""
    while let character = next(), character != "}" { digits.append(character) }
    try append(hexadecimal: digits)
  }

  private mutating func append(hexadecimal digits: String) throws(TokenizerError) {
    guard let value = UInt32(digits, radix: 16), Unicode.Scalar(value) != nil else {
      return try refuse("the character number '\(digits)'")
    }
    result += "\\x{\(digits)}"
  }

  /// What follows `\p`: `{Name}` or `{^Name}`.
  private mutating func property(negated: Bool) throws(TokenizerError) {
    guard next() == "{" else { return try refuse("'\\p' without '{'") }
    var (name, isNegated) = ("", negated)
    if peek() == "^" {
      isNegated.toggle()
      position += 1
    }
    while let character = next(), character != "}" { name.append(character) }
    try category(name, negated: isNegated)
  }

  private mutating func category(_ name: String, negated: Bool) throws(TokenizerError) {
    guard !name.isEmpty, let members = UnicodeClass.members(of: name, negated: negated) else {
      return try refuse("the property '\(name)'")
    }
    appendMembers(members)
  }

  private mutating func appendMembers(_ members: String) {
    result += isInClass ? members : "[\(members)]"
  }

  private func peek() -> Character? { position < source.count ? source[position] : nil }

  private mutating func next() -> Character? {
    guard let character = peek() else { return nil }
    position += 1
    return character
  }

  private mutating func take(_ count: Int) -> String {
    let text = String(source[position...].prefix(count))
    position += text.count
    return text
  }

  private func rest(startsWith text: String) -> Bool { source[position...].starts(with: text) }

  private func refuse(_ what: String) throws(TokenizerError) {
    throw TokenizerError(
      .unimplemented,
      "the regular expression '\(String(source))' holds \(what) at character \(position), "
        + "which is not supported")
  }
}

extension Character {
  fileprivate var isASCIIDigit: Bool { self >= "0" && self <= "9" && isASCII }
}
