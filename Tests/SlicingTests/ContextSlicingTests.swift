// SPDX-License-Identifier: Apache-2.0

import Glibc
import Program
import Slicing
import TestSupport
import Testing

/// Rewriting programs for keys in several parts.
struct ContextSlicingTests {
  @Test func theLeaderIsTheProgramWithLogSumExps() {
    let whole = TinyProgram.dense(layers: 2)
    let slicing = ContextSlicing(whole)
    #expect(slicing.leader.operations.count == whole.operations.count)
    #expect(slicing.merges.count == 2)
    #expect(slicing.leader.weights == whole.weights)
    for merge in slicing.merges {
      guard case .attention(let op) = slicing.leader.operations[merge.operation] else {
        Issue.record("operation \(merge.operation) is no attention")
        continue
      }
      #expect(op.logSumExp == merge.logSumExp && op.output == merge.output)
      #expect(slicing.leader[merge.logSumExp].width == 4)
      #expect(slicing.leader[merge.output].width == merge.heads * merge.width)
    }
  }

  @Test func aFollowerHasAttentionAloneAndNoWeights() {
    let slicing = ContextSlicing(TinyProgram.dense(layers: 3))
    let follower = slicing.follower
    #expect(follower.weights.isEmpty)
    #expect(follower.caches == slicing.leader.caches)
    #expect(follower.operations.map(\.cache) == [0, 1, 2].map { CacheID(index: $0) })
    // Layers of one shape share their values: three inputs, an output, a log-sum-exp.
    #expect(follower.values.count == 5)
  }

  @Test func whatIsHandedOverIsWhatAttentionReads() {
    for program in [TinyProgram.dense(layers: 2), TinyProgram.latent(layers: 2)] {
      let slicing = ContextSlicing(program)
      for (index, merge) in slicing.merges.enumerated() {
        let leader = slicing.leader.operations[merge.operation]
        let follower = slicing.follower.operations[index]
        #expect(Set(merge.handOver.map(\.leader)) == Set(leader.reads))
        #expect(Set(merge.handOver.map(\.follower)) == Set(follower.reads))
        for part in merge.handOver {
          #expect(slicing.leader[part.leader].width == part.width)
          #expect(slicing.follower[part.follower].width == part.width)
        }
      }
    }
  }

  @Test func aPlanHasAProgramForEachExecutor() throws {
    let plan = try SlicePlan(TinyProgram.latent(layers: 4), stages: 2, contextSlices: 3)
    #expect(plan.executorCount == 6)
    #expect(plan.place(ofExecutor: 4) == (1, 1))
    #expect(plan.program(stage: 1, contextSlice: 0).weights.isEmpty == false)
    #expect(plan.program(stage: 1, contextSlice: 2).operations.count == 2)
  }
}

/// Merging partial attention.
struct MergeTests {
  private struct Part {
    var output: [Float]
    var logSumExp: [Float]
  }

  /// Softmax over `keys` in double precision: the oracle.
  private func attend(
    scores: ArraySlice<Double>, values: ArraySlice<[Double]>, width: Int
  ) -> (output: [Double], logSumExp: Double) {
    guard let peak = scores.max() else { return ([Double](repeating: 0, count: width), -.infinity) }
    let weights = scores.map { exp($0 - peak) }
    let sum = weights.reduce(0, +)
    let output = (0..<width).map { column in
      zip(weights, values).reduce(0) { $0 + $1.0 * $1.1[column] } / sum
    }
    return (output, peak + log(sum))
  }

  private func merge(_ parts: [Part], rows: Int, heads: Int, width: Int) -> [Float] {
    var merged = [Float](repeating: .nan, count: rows * heads * width)
    func merge(_ rest: ArraySlice<Part>, _ pointers: [PartialAttention]) {
      guard let part = rest.first else {
        merged.withUnsafeMutableBufferPointer { merged in
          guard let base = merged.baseAddress else { return }
          mergeByLogSumExp(pointers, rows: rows, heads: heads, width: width, into: base)
        }
        return
      }
      part.output.withUnsafeBufferPointer { output in
        part.logSumExp.withUnsafeBufferPointer { logSumExp in
          guard let output = output.baseAddress, let logSumExp = logSumExp.baseAddress else {
            return
          }
          merge(
            rest.dropFirst(), pointers + [PartialAttention(output: output, logSumExp: logSumExp)])
        }
      }
    }
    merge(parts[...], [])
    return merged
  }

  @Test func anySplitOfTheKeysGivesTheWholeAttention() {
    var random = SeededGenerator(seed: 7)
    let width = 5
    for _ in 0..<100 {
      let heads = Int.random(in: 1...6, using: &random)
      let sliceCount = Int.random(in: 1...8, using: &random)
      var parts = (0..<sliceCount).map { _ in Part(output: [], logSumExp: []) }
      var expected: [Double] = []
      for _ in 0..<heads {
        let count = Int.random(in: 1...12, using: &random)
        let scores = (0..<count).map { _ in Double.random(in: -60...60, using: &random) }
        let values = (0..<count).map { _ in
          (0..<width).map { _ in Double.random(in: -2...2, using: &random) }
        }
        expected += attend(scores: scores[...], values: values[...], width: width).output
        // Some slices get no keys.
        let cuts = (0..<sliceCount - 1).map { _ in Int.random(in: 0...count, using: &random) }
        let ends = [0] + cuts.sorted() + [count]
        for slice in 0..<sliceCount {
          let range = ends[slice]..<ends[slice + 1]
          let part = attend(scores: scores[range], values: values[range], width: width)
          parts[slice].output += part.output.map { Float($0) }
          parts[slice].logSumExp.append(Float(part.logSumExp))
        }
      }
      let merged = merge(parts, rows: 1, heads: heads, width: width)
      // Rounding a log-sum-exp of 60 to a float shifts its weight by 4e-6.
      for (got, wanted) in zip(merged, expected) { #expect(abs(Double(got) - wanted) < 2e-5) }
    }
  }

  @Test func oneSliceWithKeysPassesThroughBitForBit() {
    let full = Part(output: [0.1, -3.7, 1e-30], logSumExp: [-812.25])
    let empty = Part(output: [0, 0, 0], logSumExp: [-.infinity])
    #expect(merge([empty, full, empty], rows: 1, heads: 1, width: 3) == full.output)
    #expect(merge([full], rows: 1, heads: 1, width: 3) == full.output)
  }

  @Test func withoutAnyKeyTheOutputIsZero() {
    let empty = Part(output: [9, 9], logSumExp: [-.infinity])
    #expect(merge([empty, empty], rows: 1, heads: 1, width: 2) == [0, 0])
  }

  @Test func theExponentialIsThatOfTheCLibrary() {
    for x in stride(from: -699.0, through: 0, by: 0.137) {
      #expect(abs(exponential(x) - exp(x)) <= 3 * exp(x).ulp)
    }
    #expect(exponential(0) == 1 && exponential(-1e9) == 0 && exponential(-.infinity) == 0)
  }
}
