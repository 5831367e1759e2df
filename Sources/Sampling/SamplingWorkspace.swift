// SPDX-License-Identifier: Apache-2.0

internal import Step

/// Memory that sampling uses over and over; one for each thread that samples. It grows to the
/// vocabulary once, and drawing a token allocates nothing after that.
package struct SamplingWorkspace: Sendable {
  /// Tokens whose weights are summed apart, so that a draw skips what it does not need.
  static let blockLength = 1024

  /// What is done to logits.
  var adjustments: [TokenAdjustment] = []
  /// Logits after that: `[vocabulary]`.
  var scores: [Float] = []
  /// Probabilities up to a factor, 1 for the likeliest: `[vocabulary]`.
  var weights: [Float] = []
  /// Sums of `weights` over blocks, in units.
  var blockSums: [UInt64] = []
  /// Tokens of one bucket, as sortable keys.
  var candidates: [CandidateKey] = []
  /// Tokens, and their weight, by distance from the most likely.
  var buckets: [Bucket] = []

  package init() {}

  mutating func prepare(vocabularyCount: Int) {
    guard scores.count != vocabularyCount else { return }
    scores = Array(repeating: 0, count: vocabularyCount)
    weights = scores
    let blocks = (vocabularyCount + Self.blockLength - 1) / Self.blockLength
    blockSums = Array(repeating: 0, count: blocks)
    candidates.reserveCapacity(vocabularyCount)
    buckets = Array(repeating: Bucket(), count: Bucket.count)
  }
}

/// A score and a token in one number. Rising keys are falling scores; equal scores go by token.
struct CandidateKey: Comparable {
  private let bits: UInt64

  init(score: Float, token: Int) {
    // Zeros are equal, whatever their sign.
    let pattern = (score + 0).bitPattern
    // Rising floats have rising patterns after this, negative ones among them.
    let rising = pattern >> 31 == 1 ? ~pattern : pattern | 0x8000_0000
    bits = UInt64(~rising) << 32 | UInt64(UInt32(token))
  }

  var token: Int { Int(bits & 0xFFFF_FFFF) }

  static func < (left: CandidateKey, right: CandidateKey) -> Bool { left.bits < right.bits }
}

/// Tokens at about the same distance from the most likely one.
struct Bucket {
  static let count = 1024
  /// Buckets for each factor of e in probability: all that weighs anything is in the first 900.
  static let countPerNat: Float = 32

  var tokenCount = 0
  var weight: UInt64 = 0

  /// Of a logarithm of a weight, at most 0.
  @inline(__always)
  static func index(_ logarithm: Float) -> Int {
    Int(min(logarithm * -countPerNat, Float(count - 1)))
  }
}
