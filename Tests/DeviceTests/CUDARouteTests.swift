// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// Routers of few rows, whose last block chooses the experts.
@Suite struct CUDARouteTests {
  private static func operation(experts: Int) -> OperationCase {
    OperationCase("router of \(experts)", width: 20, lengths: [5, 4]) { b, x in
      var y = x
      // Two, since the second counts blocks again.
      for layer in 0..<2 {
        let routing = b.route(
          y, Weight("router.\(layer)", [experts, 20]), scoring: .sigmoid, topK: 2,
          normalize: true, scale: 1)
        y = b.experts(
          y, routing: routing,
          (0..<experts).map { index in
            let name = "\(layer).\(index % 3)"
            return Experts.Expert(
              gate: Weight("gate.\(name)", [8, 20]), up: Weight("up.\(name)", [8, 20]),
              down: Weight("down.\(name)", [20, 8]))
          })
      }
      return y
    }
  }

  @Test(arguments: [3, 64, 65, 256])
  func `few rows take one kernel, with the bits of two`(experts: Int) throws {
    let operation = Self.operation(experts: experts)
    let weights = RandomWeights(type: .bfloat16)
    let device = try EmulatedGPU.device(.bf16)
    var run = try CPUModelRun(operation.program, weights, on: device)
    // Tasks of one launch are two.
    var apart = try CPUModelRun(
      operation.program, weights, on: EmulatedGPU.device(.bf16, steps: .oneLaunch))
    let choice = experts <= 64 ? 64 : 256
    for (rows, side) in [(1, 1), (2, 1), (3, 4), (4, 4), (8, 4)] {
      let names = try device.kernelNames(
        operation.program.operations.indices, tokens: rows, outputs: rows)
      let isBehind = names.contains("route_\(side)_choose_\(choice)")
      #expect(isBehind && !names.contains { $0.hasPrefix("choose") }, "\(rows): \(names)")
      guard rows <= 4 else { continue }
      let plan = operation.plan(rows: rows)
      for _ in 0..<2 {
        let isSame = bitsEqual(try run.logits(plan), try apart.logits(plan))
        #expect(isSame, "\(experts) experts, \(rows) rows")
      }
    }
    let difference = try operation.largestDifference(
      of: EmulatedGPU.device(.bf16), weights: weights, chunk: 4)
    // Of two layers.
    #expect(difference <= 1.6e-2, "\(difference)")
  }

  @Test func `more rows or experts take two`() throws {
    for (experts, rows) in [(3, 9), (256, 40), (300, 1)] {
      let device = try EmulatedGPU.device(.bf16)
      let operation = Self.operation(experts: experts)
      let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
      let names = try device.kernelNames(
        run.program.operations.indices, tokens: rows, outputs: rows)
      let choosesBehind = names.contains { $0.contains("_choose_") }
      #expect(!choosesBehind && names.contains { $0.hasPrefix("choose_") }, "\(names)")
    }
  }
}
