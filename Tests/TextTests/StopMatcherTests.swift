// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import Text

@Suite struct StopMatcherTests {
  /// What a search in the whole text finds: the first place where a stop string is complete, and
  /// the longest one that ends there.
  private static func naive(_ text: String, _ stops: [String]) -> (text: [UInt8], stop: Int?) {
    let bytes = Array(text.utf8)
    for end in 0...bytes.count {
      let found = stops.indices.filter {
        bytes[..<end].suffix(stops[$0].utf8.count)
          .elementsEqual(stops[$0].utf8)
      }
      let longest = found.max { (stops[$0].utf8.count, $1) < (stops[$1].utf8.count, $0) }
      if let longest { return (Array(bytes[..<(end - stops[longest].utf8.count)]), longest) }
    }
    return (bytes, nil)
  }

  @Test("Deltas give what a search in the whole text gives") func equalsNaiveSearch() throws {
    var random = SeededGenerator(seed: 10)
    let letters = ["a", "b", "é", "中", "🦠", "\n"]
    func word(_ count: ClosedRange<Int>) -> String {
      let count = Int.random(in: count, using: &random)
      return (0..<count).map { _ in
        letters[Int.random(in: 0..<letters.count, using: &random) % (count % 4 + 2)]
      }.joined()
    }
    for _ in 0..<20_000 {
      let stops = (0..<Int.random(in: 0...4, using: &random)).map { _ in word(1...5) }
      let deltas = (0..<Int.random(in: 1...8, using: &random)).map { _ in word(0...6) }
      var matcher = try StopMatcher(stops)
      var (found, stop): ([UInt8], Int?) = ([], nil)
      for delta in deltas where stop == nil {
        let output = matcher.append(delta)
        found += output.text.utf8
        stop = output.stop
      }
      if stop == nil { found += matcher.flush().utf8 }
      let expected = Self.naive(deltas.joined(), stops)
      #expect(found == expected.text && stop == expected.stop, "\(stops) \(deltas)")
    }
  }

  @Test("No more is held back than may begin a stop string") func holdsBackLittle() throws {
    var matcher = try StopMatcher(["\n\nUser:", "END"])
    #expect(matcher.append("Hello\n") == .init(text: "Hello", stop: nil))
    #expect(matcher.append("\nUs") == .init(text: "", stop: nil))
    #expect(matcher.append("e E") == .init(text: "\n\nUse ", stop: nil))
    #expect(matcher.append("NDLESS") == .init(text: "", stop: 1))
    #expect(matcher.append("more") == .init(text: "", stop: nil))
    #expect(matcher.flush() == "")
  }

  @Test("A long text takes linear time") func isLinear() throws {
    let stop = String(repeating: "a", count: 1_000) + "b"
    var matcher = try StopMatcher([stop])
    let start = ContinuousClock.now
    var count = 0
    for _ in 0..<1_000 {
      count += matcher.append(String(repeating: "a", count: 1_000)).text.utf8.count
    }
    #expect(count == 999_000)
    #expect(ContinuousClock.now - start < .seconds(5))
  }

  @Test("Stop strings that are empty, too long or too many are refused") func refuses() {
    #expect(throws: TokenizerError.self) { try StopMatcher([""]) }
    #expect(throws: TokenizerError.self) { try StopMatcher([String(repeating: "x", count: 1_025)]) }
    #expect(throws: TokenizerError.self) { try StopMatcher(Array(repeating: "x", count: 65)) }
  }
}
