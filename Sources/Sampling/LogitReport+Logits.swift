// SPDX-License-Identifier: Apache-2.0

internal import Glibc
package import Step

/// What log-probabilities are made of. The sum is of whole numbers, so whoever makes a report of a
/// row comes to the same bits (`report.cu`).
extension LogitReport {
  /// Of finite logits `[vocabulary]`, the largest `topCount` among them; those of single tokens are
  /// for the caller to add.
  package init(of logits: UnsafeBufferPointer<Float>, topCount: Int) {
    self.init()
    peak = logits[argmax(logits)]
    total = WeightUnits.total(logits, peak: peak)
    // What a logit must exceed to be among the top; a later equal one is not.
    var bar = topCount == 0 ? Float.infinity : -.infinity
    for token in logits.indices where logits[token] > bar {
      insert(Entry(token: Int32(token), logit: logits[token]), countMax: topCount)
      if self.topCount == topCount { bar = top[topCount - 1].logit }
    }
  }

  /// Behind those that are as large; the last gives way if there are too many.
  private mutating func insert(_ entry: Entry, countMax: Int) {
    var place = topCount < countMax ? topCount : countMax - 1
    topCount = min(topCount + 1, countMax)
    while place > 0, top[place - 1].logit < entry.logit {
      top[place] = top[place - 1]
      place -= 1
    }
    top[place] = entry
  }
}

extension TokenLogprobs {
  /// Log-softmax at a token with that logit, and at the largest.
  init(_ report: LogitReport, logit: Float) {
    let logSum = Double(report.peak) + log(Double(report.total) * 0x1p-40)
    // Zeros are equal, whatever their sign.
    func logprob(_ logit: Float) -> Float { Float(Double(logit + 0) - logSum) }
    self.init(
      chosen: logprob(logit),
      top: (0..<report.topCount).map { index in
        let entry = report.top[index]
        return TokenLogprob(token: entry.token, logprob: logprob(entry.logit))
      })
  }
}
