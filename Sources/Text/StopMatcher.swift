// SPDX-License-Identifier: Apache-2.0

/// Ends a text before a stop string, wherever deltas begin and end.
///
/// The first stop string to be complete ends the text; of several that end at the same byte, the
/// longest one counts. An automaton over all stop strings (Aho and Corasick 1975) reads each byte
/// once, and holds back no more than may begin a stop string.
package struct StopMatcher: Sendable {
  /// Stop strings of one request, and bytes of each, at most.
  package static let stopCountMax = 64
  package static let stopByteCountMax = 1024

  /// What is known after a delta.
  package struct Output: Equatable, Sendable {
    /// Text that can be sent now.
    package var text: String
    /// The index of the stop string that ended the text, once there is one.
    package var stop: Int?

    package init(text: String, stop: Int?) {
      self.text = text
      self.stop = stop
    }
  }

  private let automaton: StopAutomaton
  private var state = 0
  /// Bytes that may begin a stop string; they always start at a character.
  private var held: [UInt8] = []
  private var isStopped = false

  /// - Parameter stops: none of them empty.
  package init(_ stops: [String]) throws(TokenizerError) {
    guard stops.count <= Self.stopCountMax else {
      throw TokenizerError("stop holds \(stops.count) texts; at most \(Self.stopCountMax)")
    }
    for (index, stop) in stops.enumerated() {
      guard 1...Self.stopByteCountMax ~= stop.utf8.count else {
        throw TokenizerError(
          "stop[\(index)] has \(stop.utf8.count) bytes; expected 1 to \(Self.stopByteCountMax)")
      }
    }
    automaton = StopAutomaton(stops.map { Array($0.utf8) })
  }

  /// Takes the next piece of text.
  package mutating func append(_ text: String) -> Output {
    guard !isStopped else { return Output(text: "", stop: nil) }
    for byte in text.utf8 {
      held.append(byte)
      state = automaton.next(state, byte)
      guard let match = automaton.match(at: state) else { continue }
      isStopped = true
      let before = held.dropLast(match.length)
      held = []
      return Output(text: String(decoding: before, as: UTF8.self), stop: match.stop)
    }
    // The automaton's depth is the longest suffix that may begin a stop string.
    let text = String(decoding: held.dropLast(automaton.depth(state)), as: UTF8.self)
    held.removeFirst(text.utf8.count)
    return Output(text: text, stop: nil)
  }

  /// What was held back, when no more text comes.
  package mutating func flush() -> String {
    defer {
      held = []
      state = 0
    }
    return String(decoding: held, as: UTF8.self)
  }
}
