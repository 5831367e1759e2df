// SPDX-License-Identifier: Apache-2.0

/// How far one choice may run ahead of its client: the flow control that reaches the scheduler.
///
/// Two things bound it: the credit that the client gives, and how many of its tokens may wait to be
/// sent. Both become one number, the allowance: how many tokens the sequence may generate in all.
/// The engine pauses it there, to the token. A client that reads keeps the allowance ahead of the
/// sequence with one command for every half of `unsentMax` tokens.
struct TokenWindow {
  /// Tokens that may wait to be sent.
  private let unsentMax: Int
  /// Tokens that the client allows in all; nil: it sets no limit.
  private var credit: Int?
  /// Tokens that do not wait any more.
  private var sentCount = 0
  /// What the engine was told last.
  private(set) var allowance: Int

  init(unsentMax: Int, credit: Int?) {
    self.unsentMax = unsentMax
    self.credit = credit
    allowance = min(credit ?? .max, unsentMax)
  }

  /// The client allows `tokens` more: than before, or, the first time, than `generatedCount`.
  mutating func add(credit tokens: Int, generatedCount: Int) {
    let (sum, overflows) = (credit ?? generatedCount).addingReportingOverflow(tokens)
    credit = overflows ? .max : sum
  }

  /// So many tokens have left.
  mutating func noteSent(_ count: Int) { sentCount += count }

  /// What the engine is to be told now; nil if nothing.
  mutating func takeAllowance() -> Int? {
    let wanted = min(credit ?? .max, sentCount + unsentMax)
    // A new limit of the client counts at once; room for unsent tokens is given in large steps.
    let isDue = wanted < allowance || wanted - allowance >= unsentMax / 2 || wanted == credit
    guard wanted != allowance, isDue else { return nil }
    allowance = wanted
    return wanted
  }
}
