// SPDX-License-Identifier: Apache-2.0

/// GPT-2's way to write bytes as visible characters, which the vocabularies of byte-level BPE use:
/// printable bytes of Latin-1 stand for themselves, the others for U+0100 and up, in order.
enum ByteAlphabet {
  /// The character that stands for each byte.
  static let characters: [Unicode.Scalar] = {
    var next: UInt8 = 0
    var characters: [Unicode.Scalar] = []
    for byte in UInt8.min...UInt8.max {
      if isPrintable(byte) {
        characters.append(Unicode.Scalar(byte))
      } else {
        characters.append(Unicode.Scalar(0x100 + UInt16(next)) ?? "?")
        next += 1
      }
    }
    return characters
  }()

  /// The byte that a character stands for, by character value; -1 if none.
  private static let bytes: [Int16] = {
    var bytes = [Int16](repeating: -1, count: 0x144)
    for (byte, character) in characters.enumerated() {
      bytes[Int(character.value)] = Int16(byte)
    }
    return bytes
  }()

  /// The bytes that a token of the vocabulary stands for; nil if it holds other characters.
  static func bytes(of token: String) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(token.utf8.count)
    for scalar in token.unicodeScalars {
      guard scalar.value < 0x144, bytes[Int(scalar.value)] >= 0 else { return nil }
      result.append(UInt8(bytes[Int(scalar.value)]))
    }
    return result
  }

  /// How a vocabulary writes those bytes.
  static func name(of bytes: some Sequence<UInt8>) -> String {
    var name = ""
    for byte in bytes { name.unicodeScalars.append(characters[Int(byte)]) }
    return name
  }

  private static func isPrintable(_ byte: UInt8) -> Bool {
    0x21...0x7E ~= byte || 0xA1...0xAC ~= byte || 0xAE...0xFF ~= byte
  }
}
