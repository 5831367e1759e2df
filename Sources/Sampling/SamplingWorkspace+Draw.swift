// SPDX-License-Identifier: Apache-2.0

import Step

extension SamplingWorkspace {
  /// Draws a token from `scores`: temperature, then top_k, then top_p of what is left, then min_p.
  /// Time linear in the vocabulary; only tokens near the cut are sorted.
  mutating func draw(_ parameters: SamplingParameters, peak: Float, scale: Float, unit: Double)
    -> Int
  {
    let total = weigh(peak: peak, scale: scale)
    let hasTopK = parameters.topK > 0 && parameters.topK < scores.count
    let hasTopP = parameters.topP < 1
    guard hasTopK || hasTopP || parameters.minP > 0 else { return drawAny(unit * total) }
    if hasTopK || hasTopP {
      fillBuckets(peak: peak, scale: scale)
      let last =
        hasTopK
        ? bucket(tokenCount: parameters.topK) : bucket(weight: Double(parameters.topP) * total)
      gather(to: last, peak: peak, scale: scale)
      if hasTopK { candidates.removeLast(candidates.count - parameters.topK) }
      if hasTopK && hasTopP { candidates.sort() }
      if hasTopP { cutTopP(Double(parameters.topP), total: hasTopK ? candidateWeight : total) }
      if parameters.minP > 0 { candidates.removeAll { weights[$0.token] < parameters.minP } }
    } else {
      gatherMinP(parameters.minP)
    }
    return drawCandidate(unit * candidateWeight)
  }

  /// Fills `weights` and `blockSums`; returns the sum.
  private mutating func weigh(peak: Float, scale: Float) -> Double {
    scores.withUnsafeBufferPointer { scores in
      weights.withUnsafeMutableBufferPointer { weights in
        blockSums.withUnsafeMutableBufferPointer { blockSums in
          Exponential.weigh(
            scores, peak: peak, scale: scale, into: weights, blockSums: blockSums)
        }
      }
    }
  }

  // MARK: Choosing candidates

  private mutating func fillBuckets(peak: Float, scale: Float) {
    buckets.withUnsafeMutableBufferPointer { buckets in
      buckets.update(repeating: Bucket())
      scores.withUnsafeBufferPointer { scores in
        weights.withUnsafeBufferPointer { weights in
          for token in 0..<scores.count {
            let bucket = Bucket.index(distance: (peak - scores[token]) * scale)
            buckets[bucket].tokenCount += 1
            buckets[bucket].weight += Double(weights[token])
          }
        }
      }
    }
  }

  /// The bucket that the `tokenCount`th likeliest token is in.
  private func bucket(tokenCount: Int) -> Int {
    var count = 0
    for (index, bucket) in buckets.enumerated() {
      count += bucket.tokenCount
      if count >= tokenCount { return index }
    }
    return Bucket.count - 1
  }

  /// The bucket in which the likeliest tokens reach a weight together.
  private func bucket(weight: Double) -> Int {
    var sum = 0.0
    for (index, bucket) in buckets.enumerated() {
      sum += bucket.weight
      if sum >= weight { return index }
    }
    return Bucket.count - 1
  }

  /// Gathers the tokens of the buckets before `last` in order of their ids, as all of them stay,
  /// and then those of `last`, sorted.
  private mutating func gather(to last: Int, peak: Float, scale: Float) {
    candidates.removeAll(keepingCapacity: true)
    gather { Bucket.index(distance: (peak - $0) * scale) < last }
    let sure = candidates.count
    gather { Bucket.index(distance: (peak - $0) * scale) == last }
    candidates[sure...].sort()
  }

  private mutating func gatherMinP(_ minP: Float) {
    candidates.removeAll(keepingCapacity: true)
    gather(weights) { $0 >= minP }
  }

  private mutating func gather(where isCandidate: (Float) -> Bool) {
    gather(scores, where: isCandidate)
  }

  /// Appends the tokens of which `values` are as asked for, in order of their ids.
  private mutating func gather(_ values: [Float], where isCandidate: (Float) -> Bool) {
    values.withUnsafeBufferPointer { values in
      scores.withUnsafeBufferPointer { scores in
        for token in 0..<values.count where isCandidate(values[token]) {
          candidates.append(CandidateKey(score: scores[token], token: token))
        }
      }
    }
  }

  /// Keeps the first candidates that reach a part of the total weight together, one at least.
  private mutating func cutTopP(_ topP: Double, total: Double) {
    var sum = 0.0
    var count = 0
    for candidate in candidates {
      if count > 0 && sum >= topP * total { break }
      sum += Double(weights[candidate.token])
      count += 1
    }
    candidates.removeLast(candidates.count - count)
  }

  private var candidateWeight: Double {
    candidates.reduce(0) { $0 + Double(weights[$1.token]) }
  }

  // MARK: Drawing

  /// The candidate in whose share of the summed weights `target` falls.
  private func drawCandidate(_ target: Double) -> Int {
    var sum = 0.0
    var last = 0
    for candidate in candidates where weights[candidate.token] > 0 {
      sum += Double(weights[candidate.token])
      last = candidate.token
      if sum > target { break }
    }
    return last
  }

  /// The same over all tokens, in order of their ids.
  private func drawAny(_ target: Double) -> Int {
    var sum = 0.0
    var block = 0
    while block + 1 < blockSums.count, sum + blockSums[block] <= target {
      sum += blockSums[block]
      block += 1
    }
    // Where rounding leads past the end, the last token that has any weight.
    var last = weights.lastIndex { $0 > 0 } ?? 0
    for token in block * Exponential.blockLength..<weights.count where weights[token] > 0 {
      sum += Double(weights[token])
      if sum > target {
        last = token
        break
      }
    }
    return last
  }
}
