// SPDX-License-Identifier: Apache-2.0

import Program
import Slicing
import Support
import Testing

/// Cutting programs into stages.
struct StageTests {
  @Test func stagesTogetherHaveAllOperationsAndWeightsOnce() throws {
    let whole = TinyProgram.dense(layers: 5)
    for count in 1...5 {
      let plan = try SlicePlan(whole, stages: count)
      #expect(plan.stages.map(\.layers.count).reduce(0, +) == 5)
      let parts = plan.stages.map(\.program)
      #expect(parts.flatMap(\.operations).count == whole.operations.count)
      #expect(parts.flatMap(\.weights) == whole.weights)
      #expect(parts.map(\.caches.count) == plan.stages.map(\.layers.count))
    }
  }

  @Test func oneStageOfAWholeModelIsTheModel() throws {
    let whole = TinyProgram.latent(layers: 3)
    #expect(try whole.stage(layers: 0..<3) == whole)
  }

  @Test func betweenStagesFlowsTheHiddenState() throws {
    let whole = TinyProgram.dense(layers: 3)
    let middle = try whole.stage(layers: 1..<2)
    guard case .hidden(let input) = middle.input, case .hidden(let output) = middle.output else {
      Issue.record("the middle stage takes \(middle.input) and gives \(middle.output)")
      return
    }
    #expect(middle[input].width == TinyProgram.hidden && middle[output].width == TinyProgram.hidden)
    #expect(input != output)
    #expect(middle.layers == [0..<middle.operations.count])
    #expect(try whole.stage(layers: 0..<1).input == .tokens)
    guard case .logits(let logits) = try whole.stage(layers: 2..<3).output else {
      Issue.record("the last stage gives no logits")
      return
    }
    #expect(try whole.stage(layers: 2..<3)[logits].width == 32)
  }

  @Test func aStageHasOnlyValuesItUsesAndThoseAreInRange() throws {
    let whole = TinyProgram.latent(layers: 4)
    for part in try SlicePlan(whole, stages: 4).stages.map(\.program) {
      let used = Set(part.operations.flatMap { $0.reads + $0.writes })
      #expect(used.map(\.index).sorted() == Array(part.values.indices))
    }
  }

  @Test func aStageOfAStageIsTheStage() throws {
    let whole = TinyProgram.dense(layers: 4)
    let part = try whole.stage(layers: 1..<4).stage(layers: 1..<2)
    #expect(part == (try whole.stage(layers: 2..<3)))
  }

  @Test func twoValuesAcrossABorderAreAnError() throws {
    var whole = TinyProgram.dense(layers: 2)
    // The second layer also reads what the first layer's gate gave.
    let gate = try #require(
      whole.operations.compactMap { if case .swiglu(let op) = $0 { op.gate } else { nil } }.first)
    let index = try #require(
      whole.operations.lastIndex { if case .swiglu = $0 { true } else { false } })
    guard case .swiglu(var op) = whole.operations[index] else { return }
    op.gate = gate
    whole.operations[index] = .swiglu(op)
    #expect(throws: SlicingError.self) { try whole.stage(layers: 0..<1) }
  }

  @Test func moreStagesThanLayersAreAnErrorThatNamesBoth() {
    let error = #expect(throws: SlicingError.self) {
      try SlicePlan(TinyProgram.dense(layers: 3), stages: 4)
    }
    #expect(error?.code == .invalidArgument)
    #expect(
      error?.message == "stages is 4; expected 1 to 3, the number of layers of tiny")
    #expect(throws: SlicingError.self) { try SlicePlan(TinyProgram.dense(layers: 3), stages: 0) }
    #expect(throws: SlicingError.self) {
      try SlicePlan(TinyProgram.dense(layers: 3), contextSlices: 0)
    }
  }
}

/// Balancing stages.
struct CostTests {
  @Test func equalCostsGiveEqualRanges() {
    #expect(balancedRanges([1, 1, 1, 1, 1, 1], count: 3) == [0..<2, 2..<4, 4..<6])
    #expect(balancedRanges([5], count: 1) == [0..<1])
    #expect(balancedRanges([1, 1, 1], count: 3) == [0..<1, 1..<2, 2..<3])
  }

  @Test func aHeavyLayerStandsAlone() {
    #expect(balancedRanges([1, 1, 9, 1, 1], count: 3) == [0..<2, 2..<3, 3..<5])
    #expect(balancedRanges([0, 0, 0], count: 2).map(\.isEmpty) == [false, false])
  }

  @Test func noOtherCutsHaveASmallerLargestSum() {
    var state: UInt64 = 3
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      return Int(state >> 33) % bound
    }
    for _ in 0..<200 {
      let costs = (0..<3 + random(6)).map { _ in random(50) }
      let count = 1 + random(costs.count)
      let ranges = balancedRanges(costs, count: count)
      #expect(ranges.count == count && ranges.allSatisfy { !$0.isEmpty })
      #expect(ranges.flatMap { Array($0) } == Array(costs.indices))
      let largest = ranges.map { costs[$0].reduce(0, +) }.max()
      #expect(largest == smallestMaximum(costs[...], count: count))
    }
  }

  private func smallestMaximum(_ costs: ArraySlice<Int>, count: Int) -> Int {
    if count == 1 { return costs.reduce(0, +) }
    return (1...costs.count - count + 1).map { head in
      max(costs.prefix(head).reduce(0, +), smallestMaximum(costs.dropFirst(head), count: count - 1))
    }.min() ?? 0
  }

  @Test func widerLayersGetFewerCompanions() throws {
    let whole = TinyProgram.dense(layers: 6) { $0 == 0 ? 4096 : 16 }
    var model = CostModel()
    model.contextTokens = 0
    let plan = try SlicePlan(whole, stages: 2, costModel: model)
    #expect(plan.stages.map(\.layers) == [0..<1, 1..<6])
  }

  @Test func costsCountWeightsAndCache() {
    var model = CostModel()
    (model.bytesPerWeight, model.bytesPerCacheElement) = (2, 1)
    (model.batch, model.contextTokens) = (4, 10)
    let whole = TinyProgram.latent(layers: 3)
    let middle = model.cost(ofLayer: 1, of: whole)
    let elements = 20 * 8 + 10 * 8 + 8 * 12
    #expect(middle.weightBytes == 2 * elements)
    #expect(middle.cacheBytesPerToken == 10)
    #expect(middle.bytesReadPerStep == 2 * elements + 10 * 4 * 10)
    let first = model.cost(ofLayer: 0, of: whole)
    #expect(first.weightBytes == middle.weightBytes + 2 * 32 * 8)
    #expect(first.bytesReadPerStep == middle.bytesReadPerStep + 2 * 32 * 8 / 8)
  }
}
