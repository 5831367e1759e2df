// SPDX-License-Identifier: Apache-2.0

/// What is done to text before it is cut into pieces.
enum Normalizer {
  case none
  /// Unicode's canonical composition (UAX #15), by the tables of the Swift library.
  case nfc

  /// The normalized text.
  func normalized(_ text: [UInt8]) -> [UInt8] {
    switch self {
    case .none: return text
    case .nfc:
      // Characters below U+0300, whose lead bytes are below 0xCC, stay as they are.
      guard text.contains(where: { $0 >= 0xCC }) else { return text }
      return String(decoding: text, as: UTF8.self)._nfcCodeUnits
    }
  }
}
