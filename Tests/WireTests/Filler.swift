// SPDX-License-Identifier: Apache-2.0

import TestSupport

/// Fills messages with random values, and writes the same values in protobuf's text format, which
/// Python reads: so values are compared, not only bytes.
final class Filler {
  private var generator: SeededGenerator
  private(set) var text = ""

  init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

  /// A value and how text format spells it.
  typealias Spelled<Value> = (value: Value, text: String)

  func set<Value>(_ name: String, _ make: () -> Spelled<Value>, _ assign: (Value) -> Void) {
    let made = make()
    text += "\(name): \(made.text) "
    assign(made.value)
  }

  func list<Value>(_ field: inout [Value], _ name: String, _ make: () -> Spelled<Value>) {
    for _ in 0..<Int.random(in: 0...4, using: &generator) {
      set(name, make) { field.append($0) }
    }
  }

  func map<Key: Hashable, Value>(
    _ field: inout [Key: Value], _ name: String, _ makeKey: () -> Spelled<Key>,
    _ makeValue: () -> Spelled<Value>
  ) {
    for _ in 0..<Int.random(in: 0...4, using: &generator) {
      let (key, value) = (makeKey(), makeValue())
      guard field[key.value] == nil else { continue }
      field[key.value] = value.value
      text += "\(name) { key: \(key.text) value: \(value.text) } "
    }
  }

  /// Runs `body` with an empty text, and gives what it wrote in braces.
  func nested(_ body: () -> Void) -> String {
    let outer = text
    text = ""
    defer { text = outer }
    body()
    return "{ \(text)}"
  }

  func chance() -> Bool { Bool.random(using: &generator) }

  func pick(_ count: Int) -> Int { Int.random(in: 0..<count, using: &generator) }

  func integer<Number: FixedWidthInteger>() -> Spelled<Number> {
    let edges: [Number] = [0, 1, 127, .max, .min, Number(truncatingIfNeeded: -1)]
    let shift = Int.random(in: 0..<Number.bitWidth, using: &generator)
    let drawn = Number.random(in: .min ... .max, using: &generator) >> shift
    let value = chance() ? edges[pick(edges.count)] : drawn
    return (value, "\(value)")
  }

  func double() -> Spelled<Double> {
    let edges = [0, -0.0, .infinity, -.infinity, .leastNonzeroMagnitude, .greatestFiniteMagnitude]
    let drawn = Double.random(in: -1e9...1e9, using: &generator)
    let value = chance() ? edges[pick(edges.count)] : drawn
    return (value, "\(value)")
  }

  func float() -> Spelled<Float> {
    let edges: [Float] = [
      0, -0.0, .infinity, -.infinity, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
    ]
    let drawn = Float.random(in: -1e9...1e9, using: &generator)
    let value = chance() ? edges[pick(edges.count)] : drawn
    return (value, "\(Double(value))")
  }

  func bool() -> Spelled<Bool> {
    let value = chance()
    return (value, "\(value)")
  }

  func string() -> Spelled<String> {
    let characters: [Character] = ["a", "\0", "\"", "\\", "\n", "é", "你", "😀", "\u{10FFFF}"]
    let value = String((0..<pick(20)).map { _ in characters[pick(characters.count)] })
    return (value, spell(Array(value.utf8)))
  }

  func bytes() -> Spelled<[UInt8]> {
    let value = (0..<pick(20)).map { _ in UInt8.random(in: 0...255, using: &generator) }
    return (value, spell(value))
  }

  func color() -> Spelled<Silica_Test_Color> {
    let colors: [Silica_Test_Color] = [
      .unspecified, .red, .blue, .negative, .UNRECOGNIZED(5), .UNRECOGNIZED(Int(Int32.min)),
    ]
    let value = colors[pick(colors.count)]
    return (value, "\(value.rawValue)")
  }

  private func spell(_ bytes: [UInt8]) -> String {
    let escaped = bytes.map { byte in
      let octal = String(byte, radix: 8)
      return "\\" + String(repeating: "0", count: 3 - octal.count) + octal
    }
    return "\"" + escaped.joined() + "\""
  }
}
