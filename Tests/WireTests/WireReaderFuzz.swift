// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import Wire

/// Damaged and invented bytes: Swift and Python must agree on whether they are a message, and on
/// what it holds.
@Suite struct WireReaderFuzz {
  private static let roundsPerKind = 1000

  @Test func `damaged messages get Python's verdict`() throws {
    let python = try PythonOracle()
    var corpus = try Corpus(python, seed: 2)
    var refused = 0
    for kind in Kind.withFields {
      for _ in 0..<Self.roundsPerKind {
        let bytes = corpus.damaged(kind)
        if kind.parse(bytes) == nil { refused += 1 }
        let difference = try python.difference(kind, bytes)
        try #require(difference == nil)
      }
    }
    // Both verdicts are common, or the corpus tests nothing.
    let total = Kind.withFields.count * Self.roundsPerKind
    #expect(refused > total / 10 && refused < total * 9 / 10, "\(refused) of \(total) refused")
  }

  @Test func `invented fields get Python's verdict`() throws {
    let python = try PythonOracle()
    var corpus = try Corpus(python, seed: 3)
    for kind in Kind.withFields {
      for _ in 0..<Self.roundsPerKind {
        let difference = try python.difference(kind, corpus.invented())
        try #require(difference == nil)
      }
    }
  }

  @Test func `a reader that forgets to check UTF-8 is found out`() throws {
    let python = try PythonOracle()
    var corpus = try Corpus(python, seed: 2)
    let lenient = Kind(LenientScalars.self, as: "Scalars")
    var found = 0
    for _ in 0..<Self.roundsPerKind {
      if try python.difference(lenient, corpus.damaged(lenient)) != nil { found += 1 }
    }
    #expect(found > 0)
  }
}

/// The canary: field 14 of Scalars, the string, without its check.
private struct LenientScalars: Message {
  static let messageName = "silica.test.Scalars"
  static let fieldNames: KeyValuePairs<UInt32, String> = [:]
  private var scalars = Silica_Test_Scalars()
  private var text: [UInt8] = []

  var encodedSize: Int { scalars.encodedSize + WireBytes.fieldSize(text, tagSize: 1) }

  func write(to writer: inout WireWriter) {
    WireBytes.writeField(text, tag: 114, to: &writer)
    scalars.write(to: &writer)
  }

  mutating func decode(from reader: inout WireReader) throws(WireError) {
    while let tag = try reader.nextTag() {
      if tag == 114 { try WireBytes.read(&text, from: &reader) } else { try reader.skip(tag) }
    }
  }
}

/// Makes bytes that are nearly messages.
private struct Corpus {
  private var generator: SeededGenerator
  private let messages: [String: [[UInt8]]]

  init(_ python: PythonOracle, seed: UInt64) throws {
    generator = SeededGenerator(seed: seed)
    var messages: [String: [[UInt8]]] = [:]
    for kind in Kind.withFields {
      // Short ones: a change then falls on something that matters.
      messages[kind.name] = try (0..<60).map { try python.random(kind, seed: $0) }
        .filter { $0.count < 300 }
    }
    self.messages = messages
  }

  private mutating func pick(_ count: Int) -> Int { Int.random(in: 0..<count, using: &generator) }

  private mutating func message(_ kind: Kind) -> [UInt8] {
    let known = messages[kind.name] ?? []
    return known.isEmpty ? [] : known[pick(known.count)]
  }

  /// A message after one or two changes.
  mutating func damaged(_ kind: Kind) -> [UInt8] {
    var bytes = message(kind)
    for _ in 0...pick(2) { damage(&bytes) }
    return bytes
  }

  private mutating func damage(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else {
      bytes = [UInt8(pick(256))]
      return
    }
    let position = pick(bytes.count)
    switch pick(7) {
    case 0: bytes[position] ^= 1 << UInt8(pick(8))
    case 1: bytes[position] = UInt8(pick(256))
    case 2: bytes.removeSubrange(position...)
    case 3: bytes.remove(at: position)
    case 4: bytes.insert(UInt8(pick(256)), at: position)
    case 5: bytes.insert(contentsOf: oddVarint(), at: position)
    default:
      let end = position + pick(bytes.count - position) + 1
      bytes.insert(contentsOf: bytes[position..<end], at: position)
    }
  }

  /// Fields of any small number and any wire type, most of them whole.
  mutating func invented(depth: Int = 0) -> [UInt8] {
    var bytes: [UInt8] = []
    for _ in 0..<pick(5) {
      let number = pick(10) == 0 ? pick(1 << 29) : pick(20)
      let wireType = pick(20) == 0 ? pick(8) : [0, 1, 2, 2, 2, 5][pick(6)]
      bytes += varint(UInt64(number << 3 | wireType))
      bytes += value(wireType, depth)
    }
    if pick(10) == 0 { damage(&bytes) }
    return bytes
  }

  private mutating func value(_ wireType: Int, _ depth: Int) -> [UInt8] {
    switch wireType {
    case 0: return oddVarint()
    case 1: return (0..<8).map { _ in UInt8(pick(256)) }
    case 2:
      let content = depth < 5 ? invented(depth: depth + 1) : []
      let text: [[UInt8]] = [[], [0x61], [0xC3, 0xA9], [0xED, 0xA0, 0x80], [0xC0, 0x80]]
      let bytes = pick(2) == 0 ? content : text[pick(text.count)]
      return varint(UInt64(bytes.count)) + bytes
    case 5: return (0..<4).map { _ in UInt8(pick(256)) }
    default: return []
    }
  }

  /// Varints of every length, also with more bytes than they need and more bits than there are.
  private mutating func oddVarint() -> [UInt8] {
    let value = UInt64.random(in: 0 ... .max, using: &generator) >> UInt64(pick(64))
    var bytes = varint(value)
    guard pick(3) == 0 else { return bytes }
    let padding = pick(12 - min(bytes.count, 11))
    for _ in 0..<padding {
      bytes[bytes.count - 1] |= 0x80
      bytes.append(pick(8) == 0 ? UInt8(pick(128)) : 0)
    }
    return bytes
  }
}
