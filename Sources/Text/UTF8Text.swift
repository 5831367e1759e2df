// SPDX-License-Identifier: Apache-2.0

/// Reading characters of UTF-8 that is known to be valid.
enum UTF8Text {
  /// The character that starts at `index`, and its length in bytes.
  static func scalar(in bytes: [UInt8], at index: Int) -> (Unicode.Scalar, Int) {
    let lead = UInt32(bytes[index])
    if lead < 0x80 { return (Unicode.Scalar(UInt8(lead)), 1) }
    let length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    var value = lead & (0x7F >> UInt32(length))
    for offset in 1..<length { value = value << 6 | UInt32(bytes[index + offset] & 0x3F) }
    return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
  }

  /// The character that ends before `end`, which is over 0, and its length in bytes.
  static func scalar(in bytes: [UInt8], endingAt end: Int) -> (Unicode.Scalar, Int) {
    var start = end - 1
    while start > 0 && bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return scalar(in: bytes, at: start)
  }
}

extension Unicode.Scalar {
  /// Whether it has one of the categories Nd, Nl and No.
  var isNumeric: Bool {
    switch UnicodeClass.category(of: self) {
    case .decimalNumber, .letterNumber, .otherNumber: true
    default: false
    }
  }

  /// Whether it is part of words: `\w` of Unicode's regular expressions (UTS #18).
  var isWordCharacter: Bool {
    switch UnicodeClass.category(of: self) {
    case .unassigned: false
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
    default: properties.isAlphabetic || properties.isJoinControl
    }
  }
}
