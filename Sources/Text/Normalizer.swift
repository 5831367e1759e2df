// SPDX-License-Identifier: Apache-2.0

/// What is done to text before it is cut into pieces.
enum Normalizer {
  case none
  /// Unicode's canonical composition (UAX #15), by the tables of the Swift library.
  case nfc

  /// The version of Unicode that Hugging Face's NFC knows. To it, newer characters are like ones
  /// that are not assigned: they stay as they are, and nothing is reordered across them.
  private static let version: UnicodeClass.Version = (9, 0)

  /// The normalized text.
  func normalized(_ text: [UInt8]) -> [UInt8] {
    switch self {
    case .none: return text
    case .nfc:
      guard text.contains(where: Self.mayStartChange) else { return text }
      return Self.composed(String(decoding: text, as: UTF8.self).unicodeScalars)
    }
  }

  /// Whether a character with that lead byte may change: those below U+0300 and those from U+4000
  /// to U+9FFF do not.
  private static func mayStartChange(_ byte: UInt8) -> Bool {
    byte >= 0xCC && !(0xE4...0xE9 ~= byte)
  }

  private static func composed(_ text: String.UnicodeScalarView) -> [UInt8] {
    var result: [UInt8] = []
    var segment = ""
    for scalar in text {
      if isNew(scalar) {
        result += segment._nfcCodeUnits
        result += Array(String(scalar).utf8)
        segment = ""
      } else if let parts = tibetanVowels[scalar] {
        segment.unicodeScalars += parts.unicodeScalars
      } else {
        segment.unicodeScalars.append(scalar)
      }
    }
    return result + segment._nfcCodeUnits
  }

  /// Characters that always come apart, and whose parts the Swift library (6.3) puts in the wrong
  /// order when other marks stand beside them.
  private static let tibetanVowels: [Unicode.Scalar: String] = [
    "\u{F73}": "\u{F71}\u{F72}", "\u{F75}": "\u{F71}\u{F74}", "\u{F81}": "\u{F71}\u{F80}",
  ]

  private static func isNew(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x300, 0x4E00...0x9FD5, 0xAC00...0xD7A3: false
    default: !(scalar.properties.age.map { $0 <= version } ?? false)
    }
  }
}
