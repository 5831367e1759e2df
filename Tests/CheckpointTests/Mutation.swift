// SPDX-License-Identifier: Apache-2.0

/// Small damage to a file, for fuzzing parsers.
enum Mutation {
  /// Bytes that steer a JSON parser.
  private static let telling = Array("0123456789-.eE+,:{}[]\"\\ntfu".utf8)

  /// One to three changes, most of them in the first `count` bytes.
  static func mutated(
    _ original: [UInt8], upTo count: Int, using generator: inout some RandomNumberGenerator
  ) -> [UInt8] {
    var bytes = original
    for _ in 0..<Int.random(in: 1...3, using: &generator) {
      guard !bytes.isEmpty else { break }
      let at = Int.random(in: 0..<min(count, bytes.count), using: &generator)
      switch Int.random(in: 0..<8, using: &generator) {
      case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
      case 1, 2: bytes[at] = telling.randomElement(using: &generator) ?? 0
      case 3: bytes.remove(at: at)
      case 4: bytes.insert(telling.randomElement(using: &generator) ?? 0, at: at)
      case 5: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
      case 6:  // repeat a piece
        let end = min(bytes.count, at + Int.random(in: 1...40, using: &generator))
        bytes.insert(contentsOf: Array(bytes[at..<end]), at: at)
      default: bytes.removeLast(Int.random(in: 0...min(8, bytes.count), using: &generator))
      }
    }
    return bytes
  }
}
