// SPDX-License-Identifier: Apache-2.0

internal import Step

/// The tokens of a sequence whose logits are changed before the next token is drawn: those with a
/// bias, those that penalties concern, and stop tokens as long as they are masked. A new token
/// costs one look-up.
struct LogitAdjustments: Sendable {
  /// Each token once, in order of first appearance. Walked instead of the dictionary, whose order
  /// is random.
  private var entries: [TokenAdjustment] = []
  private var entryOfToken: [Int32: Int] = [:]
  /// Each once.
  private var stopTokens: [Int32] = []
  private let countsOutput: Bool

  init(_ parameters: SamplingParameters, stopping: StoppingParameters, prompt: [Int32]) {
    countsOutput = parameters.hasPenalties
    for entry in parameters.logitBias { change(entry.token) { $0.bias += entry.bias } }
    // The other penalties are of the output alone.
    if parameters.repetitionPenalty != 1 { for token in prompt { note(token, times: 0) } }
    if stopping.minTokens > 0 {
      var seen: Set<Int32> = []
      stopTokens = stopping.stopTokens.filter { seen.insert($0).inserted }
    }
  }

  /// Takes note of a token that was generated.
  mutating func append(_ token: Int32) { if countsOutput { note(token, times: 1) } }

  private mutating func note(_ token: Int32, times: Int32) {
    change(token) { $0.outputCount = max($0.outputCount, 0) + times }
  }

  private mutating func change(_ token: Int32, _ body: (inout TokenAdjustment) -> Void) {
    if let entry = entryOfToken[token] { return body(&entries[entry]) }
    entryOfToken[token] = entries.count
    entries.append(TokenAdjustment(token: token))
    body(&entries[entries.count - 1])
  }

  /// How many there are for the next token, at most.
  func countMax(masksStops: Bool) -> Int { entries.count + (masksStops ? stopTokens.count : 0) }

  /// Writes them where there is room for `countMax`; returns how many they are.
  func write(
    to room: UnsafeMutableBufferPointer<TokenAdjustment>, masksStops: Bool
  ) -> Int {
    var end = room.update(fromContentsOf: entries)
    guard masksStops else { return end }
    for token in stopTokens {
      let place = entryOfToken[token] ?? end
      room[place] = TokenAdjustment(token: token, bias: -.infinity)
      if place == end { end += 1 }
    }
    return end
  }
}
