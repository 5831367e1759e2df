// SPDX-License-Identifier: Apache-2.0

import Support
import TestSupport
import Testing

@Suite struct JSONTests {
  @Test func `each kind of value is read`() throws {
    let text = #" {"a": [null, true, false, -12, 0.5, 1e3, "x"], "b": {}, "c": []} "#
    let json = try JSON(parsing: text)
    let elements = try #require(json["a"]?.arrayValue)
    #expect(elements[0].isNull && elements[1].boolValue == true && elements[2].boolValue == false)
    #expect(elements[3].integerValue == -12 && elements[3].numberValue == -12)
    #expect(elements[4].numberValue == 0.5 && elements[4].integerValue == nil)
    #expect(elements[5].numberValue == 1000 && elements[6].stringValue == "x")
    #expect(json["b"]?.objectValue?.count == 0 && json["c"]?.arrayValue?.isEmpty == true)
    #expect(json["d"] == nil && json["c"]?["d"] == nil)
    #expect(json.description == #"{"a":[null,true,false,-12,0.5,1000.0,"x"],"b":{},"c":[]}"#)
  }

  @Test func `numbers keep their value to the last bit`() throws {
    #expect(try JSON(parsing: "9223372036854775807").integerValue == Int.max)
    #expect(try JSON(parsing: "-9223372036854775808").integerValue == Int.min)
    #expect(try JSON(parsing: "9223372036854775808").numberValue == 9.223372036854775808e18)
    #expect(try JSON(parsing: "1e-06").numberValue == 1e-6)
    #expect(try JSON(parsing: "4.9406564584124654e-324").numberValue == .leastNonzeroMagnitude)
    #expect(try JSON(parsing: "1.7976931348623157e308").numberValue == .greatestFiniteMagnitude)
    var generator = SeededGenerator(seed: 1)
    for _ in 0..<2000 {
      let value = Double(bitPattern: generator.next())
      guard value.isFinite else { continue }
      #expect(try JSON(parsing: "\(value)").numberValue == value)
    }
  }

  @Test func `escapes and UTF-8 give the string`() throws {
    let text = #""\"\\\/\b\f\n\r\t \u0041\u00e9\u4e2d\ud83d\ude00 <｜User｜> é\u0000""#
    let expected = "\"\\/\u{8}\u{c}\n\r\t Aé中😀 <｜User｜> é\0"
    #expect(try JSON(parsing: text).stringValue == expected)
    // Surrogates at the ends of both planes.
    #expect(try JSON(parsing: #""\ud800\udc00""#).stringValue == "\u{10000}")
    #expect(try JSON(parsing: #""\udbff\udfff""#).stringValue == "\u{10ffff}")
  }

  @Test func `what is written reads back the same`() throws {
    let strings = (0..<0x80).map { String(Unicode.Scalar($0)) } + ["中😀", "\u{e9}", "e\u{301}"]
    let json = JSON.array(strings.map { .string($0) })
    let again = try #require(try JSON(parsing: json.description).arrayValue)
    #expect(again.map { Array(($0.stringValue ?? "").utf8) } == strings.map { Array($0.utf8) })
    let literal: JSON = ["a": 1, "b": [true, 0.5], "c": "d"]
    #expect(literal.description == #"{"a":1,"b":[true,0.5],"c":"d"}"#)
    #expect(JSON.number(.nan).description == "null")
  }

  @Test(arguments: [
    ("", "a value, found the end (at byte 0)"),
    ("{", "a key in quotes, found the end (at byte 1)"),
    (#"{"a"}"#, "':' after the key, found '}' (at byte 4)"),
    (#"{"a":1,}"#, "a key in quotes, found '}' (at byte 7)"),
    (#"{"a":1 "b":2}"#, "',' or '}', found '\"' (at byte 7)"),
    (#"{"a":1,"a":2}"#, "the key \"a\" is there twice (at byte 7)"),
    (#"{a:1}"#, "a key in quotes, found 'a' (at byte 1)"),
    ("[1 2]", "',' or ']', found '2' (at byte 3)"),
    ("[1,]", "a value, found ']' (at byte 3)"),
    ("1 1", "nothing after the value, found '1' (at byte 2)"),
    ("01", "nothing after the value, found '1' (at byte 1)"),
    ("-", "a digit, found the end (at byte 1)"),
    ("1.", "a digit, found the end (at byte 2)"),
    (".5", "a value, found '.' (at byte 0)"),
    ("1e+", "a digit, found the end (at byte 3)"),
    ("+1", "a value, found '+' (at byte 0)"),
    ("1e999", "a number too large for 64 bits: 1e999 (at byte 0)"),
    ("NaN", "a value, found 'N' (at byte 0)"),
    ("Infinity", "a value, found 'I' (at byte 0)"),
    ("nul", "a value, found 'n' (at byte 0)"),
    ("'a'", "a value, found ''' (at byte 0)"),
    ("\"a", "'\"' at the end of the string, found the end (at byte 2)"),
    ("\"\\", "one of \"\\/bfnrtu after '\\', found the end (at byte 2)"),
    ("\"\n\"", "an escape instead of a control character, found the byte 0x0a (at byte 1)"),
    ("\"\\n\u{1f}\"", "control character, found the byte 0x1f (at byte 3)"),
    (#""\x""#, "after '\\', found 'x' (at byte 2)"),
    (#""\u12g4""#, "4 hexadecimal digits after '\\u', found 'g' (at byte 5)"),
    (#""\ud800""#, "half of a surrogate pair without the other half (at byte 1)"),
    (#""\udc00\ud800""#, "half of a surrogate pair without the other half (at byte 1)"),
    (#""\ud800\ud800""#, "half of a surrogate pair without the other half (at byte 1)"),
    ("\u{feff}1", "a value, found the byte 0xef (at byte 0)"),
  ])
  func `what is no JSON is refused with the byte and the reason`(_ text: String, _ reason: String) {
    let error = #expect(throws: JSONError.self) { try JSON(parsing: text) }
    #expect(error?.message.hasSuffix(reason) == true, "\(error?.message ?? "")")
  }

  @Test func `bytes that are not UTF-8 are refused`() {
    for bytes: [UInt8] in [[0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0, 0, 0]] {
      let quoted = [0x22] + bytes + [0x22]
      #expect(throws: JSONError.self) { try JSON(parsing: quoted) }
      #expect(throws: JSONError.self) { try JSON(parsing: [0x22, 0x5C, 0x6E] + bytes + [0x22]) }
    }
  }

  @Test func `depth and size have limits`() throws {
    let deep = { (depth: Int) in
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    _ = try JSON(parsing: deep(64))
    #expect(throws: JSONError.self) { try JSON(parsing: deep(65)) }
    #expect(throws: JSONError.self) { try JSON(parsing: deep(1_000_000)) }
    var limits = JSON.Limits()
    limits.byteCountMax = 3
    _ = try JSON(parsing: "[1]", limits: limits)
    #expect(throws: JSONError.self) { try JSON(parsing: "[10]", limits: limits) }
  }

  @Test func `keys are compared as bytes`() throws {
    // "é" composed and decomposed, and the Kelvin sign beside K: equal for Swift, not here.
    let json = try JSON(parsing: "{\"\u{e9}\":1,\"e\u{301}\":2,\"K\":3,\"\u{212a}\":4}")
    #expect(json["\u{e9}"]?.integerValue == 1 && json["e\u{301}"]?.integerValue == 2)
    #expect(json["K"]?.integerValue == 3 && json["\u{212a}"]?.integerValue == 4)
  }

  @Test func `a large object keeps its order and finds every key`() throws {
    let count = 20_000
    let text = "{" + (0..<count).map { "\"key \($0)\":\($0)" }.joined(separator: ",") + "}"
    let object = try #require(try JSON(parsing: text).objectValue)
    #expect(object.count == count)
    #expect(object.members.map { $0.value.integerValue ?? -1 } == Array(0..<count))
    for index in 0..<count { #expect(object["key \(index)"]?.integerValue == index) }
    #expect(object["key \(count)"] == nil)
    let twice = text.dropLast() + ",\"key 9999\":0}"
    #expect(throws: JSONError.self) { try JSON(parsing: String(twice)) }
  }

  @Test func `changed documents are read or refused, never more`() throws {
    let document = Array(
      #"{"rope_scaling":{"factor":40,"type":"yarn"},"a":[1.5e-3,true,null,"\u00e9中"]}"#.utf8)
    var generator = SeededGenerator(seed: 7)
    var readCount = 0
    for _ in 0..<20_000 {
      var bytes = document
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let at = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
        case 1: bytes.remove(at: at)
        case 2: bytes.insert(bytes[bytes.count - 1 - at], at: at)
        default: bytes.removeLast(min(bytes.count - 1, at / 4))
        }
      }
      guard let json = try? JSON(parsing: bytes) else { continue }
      readCount += 1
      #expect(try JSON(parsing: json.description).description == json.description)
    }
    #expect(readCount > 500)
  }

  @Test func `a document of a tokenizer's size takes a moment`() throws {
    let vocabulary = (0..<128_000).map { "\"Ġtoken\($0)\":\($0)" }.joined(separator: ",")
    let merges = (0..<128_000).map { "\"Ġto ken\($0)\"" }.joined(separator: ",")
    let bytes = Array("{\"vocab\":{\(vocabulary)},\"merges\":[\(merges)]}".utf8)
    let start = Clock.nowNanoseconds
    let json = try JSON(parsing: bytes)
    let seconds = Double(Clock.nowNanoseconds - start) / 1e9
    #expect(json["vocab"]?.objectValue?.count == 128_000)
    #expect(seconds < 10, "took \(seconds) s")
  }
}
