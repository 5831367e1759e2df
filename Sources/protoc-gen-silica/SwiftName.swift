// SPDX-License-Identifier: Apache-2.0

/// Swift's names for proto's, as swift-protobuf chooses them.
enum SwiftName {
  /// "silica.v1" is "Silica_V1_".
  static func prefix(package: String) -> String {
    package.split(separator: ".").map { upperCamel($0) + "_" }.joined()
  }

  /// "silica/v1/inference.proto" is "silica_v1_inference.pb.swift": a Swift module wants different
  /// file names.
  static func outputFile(_ path: String) -> String {
    stem(path).split(separator: "/").joined(separator: "_") + ".pb.swift"
  }

  /// "silica/v1/inference.proto" is "silicaV1Inference".
  static func fileDescriptor(_ path: String) -> String {
    lowerCamel(String(stem(path).map { $0.isLetter || $0.isNumber ? $0 : "_" }))
  }

  /// "token_id" is "tokenID". A name that Swift or a message has already gets the suffix "_p".
  static func field(_ name: String) -> String {
    let camel = lowerCamel(name)
    return takenByMessages.contains(camel) ? camel + "_p" : camel
  }

  /// "ROLE_USER" of enum "Role" is "user"; the prefix stays where the rest is no name.
  static func enumCase(_ name: String, of type: String) -> String {
    let words = name.split(separator: "_").map { $0.lowercased() }
    var typeWords = snakeWords(type)[...]
    var rest = words[...]
    while let word = typeWords.first, rest.first == word {
      typeWords = typeWords.dropFirst()
      rest = rest.dropFirst()
    }
    let stripped = typeWords.isEmpty && rest.first?.first?.isLetter == true
    let camel = lowerCamel((stripped ? Array(rest) : words).joined(separator: "_"))
    return takenByEnums.contains(camel) ? camel + "_p" : camel
  }

  /// A message's, enum's or service's own name.
  static func type(_ name: String) -> String {
    ["Type", "Protocol", "Self", "Any", "Message"].contains(name) ? name + "_" : name
  }

  /// In backticks where Swift needs them.
  static func escaped(_ name: String) -> String { keywords.contains(name) ? "`\(name)`" : name }

  static func upperCamel(_ name: some StringProtocol) -> String {
    capitalizeFirst(camel(name))
  }

  static func lowerCamel(_ name: some StringProtocol) -> String {
    let camel = camel(name)
    guard let first = camel.first else { return camel }
    return first.lowercased() + camel.dropFirst()
  }

  private static func camel(_ name: some StringProtocol) -> String {
    let words = name.split(separator: "_")
    return words.enumerated().map { index, word in
      if index > 0, ["url", "http", "https", "id"].contains(word) { return word.uppercased() }
      return index == 0 ? String(word) : capitalizeFirst(String(word))
    }.joined()
  }

  private static func capitalizeFirst(_ word: String) -> String {
    guard let first = word.first else { return word }
    return first.uppercased() + word.dropFirst()
  }

  /// "ServingStatus" is ["serving", "status"].
  private static func snakeWords(_ name: String) -> [String] {
    var words: [String] = []
    var previousIsUpper = true
    for character in name {
      if character == "_" {
        previousIsUpper = true
        words.append("")
        continue
      }
      if words.isEmpty || (character.isUppercase && !previousIsUpper) { words.append("") }
      words[words.count - 1] += character.lowercased()
      previousIsUpper = character.isUppercase
    }
    return words.filter { !$0.isEmpty }
  }

  private static func stem(_ path: String) -> String {
    path.hasSuffix(".proto") ? String(path.dropLast(6)) : path
  }

  private static let takenByMessages: Set<String> = [
    "encodedSize", "encoded", "fieldNames", "hashValue", "messageName", "self",
  ]
  private static let takenByEnums: Set<String> = ["hashValue", "rawValue", "self", "init"]

  private static let keywords: Set<String> = [
    "Any", "as", "associatedtype", "break", "case", "catch", "class", "continue", "default",
    "defer", "deinit", "do", "else", "enum", "extension", "fallthrough", "false", "fileprivate",
    "for", "func", "guard", "if", "import", "in", "init", "inout", "internal", "is", "let", "nil",
    "operator", "precedencegroup", "private", "protocol", "public", "repeat", "rethrows", "return",
    "static", "struct", "subscript", "super", "switch", "throw", "throws", "true", "try",
    "typealias", "var", "where", "while",
  ]
}
