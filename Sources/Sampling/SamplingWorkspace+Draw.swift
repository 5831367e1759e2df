// SPDX-License-Identifier: Apache-2.0

package import Step

/// Drawing a token. What is kept of the vocabulary are the first of the tokens by falling score and
/// rising id, as far as top_k and then top_p go, less what min_p drops and what weighs nothing; the
/// token is the one at which the weights of what is kept, summed by rising id, pass `random`. All
/// sums are of whole numbers, so `sample.cu` in other orders comes to the same token.
extension SamplingWorkspace {
  /// Draws a token from scores `[vocabulary]`: finite ones, or minus infinity, which is drawn only
  /// where all are. Time linear in the vocabulary; only tokens near a cut are sorted.
  package mutating func draw(_ draw: TokenDraw, from scores: UnsafeBufferPointer<Float>) -> Int {
    let best = argmax(scores)
    if draw.takesLargest || scores[best] == -.infinity { return best }
    prepare(vocabularyCount: scores.count)
    let row = ScoreRow(scores: scores, peak: scores[best], scale: draw.scale)
    weigh(row, minP: draw.cuts ? 0 : draw.minP)
    if draw.cuts {
      fillBuckets(row)
      if let last = cut(draw, row) {
        keep(row, upTo: last, minP: draw.minP)
      } else {
        weigh(row, minP: draw.minP)
      }
    }
    return pick(draw.random)
  }

  /// Scores, the largest of them, and what their distances from it are multiplied with.
  private struct ScoreRow {
    let scores: UnsafeBufferPointer<Float>
    let peak: Float
    let scale: Float

    @inline(__always)
    func logarithm(_ token: Int) -> Float { (scores[token] - peak) * scale }

    /// Logarithms of the weights from `index` on.
    @inline(__always)
    func logarithms(_ index: Int, _ end: Int) -> Exponential.Lanes {
      (Exponential.load(scores, index, end) - peak) * scale
    }
  }

  // MARK: Choosing what is kept

  /// The last key that is kept; nil where all are.
  private mutating func cut(_ draw: TokenDraw, _ row: ScoreRow) -> CandidateKey? {
    var cut: CandidateKey?
    var gathered: Int?
    var total: UInt64 = 0
    var count = 0
    for bucket in buckets {
      total += bucket.weight
      count += bucket.tokenCount
    }
    if draw.topK > 0, draw.topK < count {
      let (bucket, before) = bucket { $0.tokenCount >= Int(draw.topK) }
      gather(bucket, row)
      let last = Int(draw.topK) - before.tokenCount - 1
      cut = candidates[last]
      total = candidates[...last].reduce(before.weight) { $0 + units($1) }
      gathered = bucket
    }
    if draw.topP < .max {
      let part = max(1, total.multipliedFullWidth(by: draw.topP).high)
      let (bucket, before) = bucket { $0.weight >= part }
      if bucket != gathered { gather(bucket, row) }
      var sum = before.weight
      for candidate in candidates where sum < part {
        sum += units(candidate)
        cut = candidate
      }
    }
    return cut
  }

  private func units(_ candidate: CandidateKey) -> UInt64 {
    WeightUnits.units(weights[candidate.token])
  }

  /// Fills `buckets` with what weighs anything.
  private mutating func fillBuckets(_ row: ScoreRow) {
    buckets.withUnsafeMutableBufferPointer { buckets in
      buckets.update(repeating: Bucket())
      weights.withUnsafeBufferPointer { weights in
        for token in 0..<weights.count {
          let units = WeightUnits.units(weights[token])
          let bucket = Bucket.index(row.logarithm(token))
          buckets[bucket].tokenCount &+= units == 0 ? 0 : 1
          buckets[bucket].weight &+= units
        }
      }
    }
  }

  /// The first bucket with which what is summed up is enough, and what is summed up before it.
  private func bucket(_ isEnough: (Bucket) -> Bool) -> (Int, before: Bucket) {
    var sum = Bucket()
    for (index, bucket) in buckets.enumerated() {
      let before = sum
      sum.tokenCount += bucket.tokenCount
      sum.weight += bucket.weight
      if isEnough(sum) { return (index, before) }
    }
    return (Bucket.count - 1, sum)
  }

  /// Gathers the keys of a bucket, sorted.
  private mutating func gather(_ bucket: Int, _ row: ScoreRow) {
    candidates.removeAll(keepingCapacity: true)
    let first = Float(bucket) / -Bucket.countPerNat
    let end = Float(bucket + 1) / -Bucket.countPerNat
    for index in stride(from: 0, to: weights.count, by: 16) {
      let logarithms = row.logarithms(index, weights.count)
      let isHere = (logarithms .<= first) .& (logarithms .> end)
      guard any(isHere) else { continue }
      for lane in 0..<min(16, weights.count - index) where isHere[lane] {
        let token = index + lane
        if WeightUnits.units(weights[token]) == 0 { continue }
        candidates.append(CandidateKey(score: row.scores[token], token: token))
      }
    }
    candidates.sort()
  }

  // MARK: Weights of what is kept

  /// Fills `weights` and `blockSums`.
  private mutating func weigh(_ row: ScoreRow, minP: Float) {
    if minP == 0 {
      return store { _, index, end in Exponential.exp(row.logarithms(index, end)) }
    }
    store { _, index, end in
      let values = Exponential.exp(row.logarithms(index, end))
      return values.replacing(with: 0, where: values .< minP)
    }
  }

  /// Clears the `weights` of what is behind `last`, and fills `blockSums`.
  private mutating func keep(_ row: ScoreRow, upTo last: CandidateKey, minP: Float) {
    let score = row.scores[last.token]
    store { weights, index, end in
      let values = Exponential.load(weights, index, end)
      let scores = Exponential.load(row.scores, index, end)
      // Equal scores are kept up to that token.
      let isBefore = index + 15 <= last.token
      var isKept = isBefore ? scores .>= score : scores .> score
      if !isBefore && index <= last.token {
        for lane in 0...last.token - index where scores[lane] == score { isKept[lane] = true }
      }
      return values.replacing(with: 0, where: .!isKept .| (values .< minP))
    }
  }

  /// Writes sixteen weights at a time, made of those that were there.
  @inline(__always)
  private mutating func store(
    _ values: (UnsafeBufferPointer<Float>, Int, Int) -> Exponential.Lanes
  ) {
    weights.withUnsafeMutableBufferPointer { weights in
      for block in blockSums.indices {
        let start = block * Self.blockLength
        let end = min(start + Self.blockLength, weights.count)
        var sum = WeightUnits.Sum()
        for index in stride(from: start, to: end, by: 16) {
          let lanes = values(UnsafeBufferPointer(weights), index, end)
          sum.add(lanes)
          Exponential.store(lanes, to: weights, index, end)
        }
        blockSums[block] = sum.total
      }
    }
  }

  // MARK: Drawing

  /// The token at which the sum of `weights` passes `random`.
  private func pick(_ random: UInt64) -> Int {
    let total = blockSums.reduce(0, +)
    var rest = total.multipliedFullWidth(by: random).high
    var block = 0
    while rest >= blockSums[block] {
      rest -= blockSums[block]
      block += 1
    }
    var token = block * Self.blockLength
    while true {
      let units = WeightUnits.units(weights[token])
      if rest < units { return token }
      rest -= units
      token += 1
    }
  }
}
