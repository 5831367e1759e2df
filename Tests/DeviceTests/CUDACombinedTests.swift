// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Device
import Models
import Program
import TestSupport
import Testing

/// Sums of what experts give that the last product of the shared ones does itself, at few rows. It
/// changes no bit.
@Suite struct CUDACombinedTests {
  /// Eleven rows at most, some of each sequence.
  private static let lengths = [6, 5]

  /// Experts, those that all rows share, and what else is added behind them.
  private static func operation(
    topK: Int, hasResidual: Bool, readsTwice: Bool = false
  ) -> OperationCase {
    let name = "experts, \(topK) of 9\(hasResidual ? ", and a residual" : "")"
    return OperationCase(name, width: 40, lengths: lengths) { b, x in
      let routing = b.route(
        x, Weight("router", [9, 40]), correctionBias: nil, scoring: .softmax, groups: nil,
        topK: topK, normalize: true, scale: 1.5)
      let routed = b.experts(
        x, routing: routing,
        (0..<9).map { index in
          Experts.Expert(
            gate: Weight("gate.\(index)", [24, 40]), up: Weight("up.\(index)", [24, 40]),
            down: Weight("down.\(index)", [40, 24]))
        })
      let unit = b.swiglu(
        gate: b.linear(x, Weight("gate", [70, 40])), up: b.linear(x, Weight("up", [70, 40])))
      let sum = b.add(routed, b.linear(unit, Weight("down", [40, 70])))
      return readsTwice ? b.add(sum, routed) : hasResidual ? b.add(x, sum) : sum
    }
  }

  @Test(arguments: [(1, true), (4, true), (9, false)], [CUDAPrecision.bf16, .fp8, .w8a8, .fp8a8])
  func `the sum within a product changes no bit`(
    shape: (topK: Int, hasResidual: Bool), precision: CUDAPrecision
  ) throws {
    let operation = Self.operation(topK: shape.topK, hasResidual: shape.hasResidual)
    try operation.expectBitsOfOperations(
      [1, 3, 8, 9, 11].map(operation.plan),
      steps: CUDASteps.allCases.filter { precision != .fp8a8 || $0 != .oneLaunch }
    ) { try EmulatedGPU.device(precision, steps: $0) }
  }

  /// The kernels of a step.
  private static func names(_ operation: OperationCase, rows: Int) throws -> [String] {
    let device = try EmulatedGPU.device(.fp8)
    let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
    return try device.kernelNames(
      run.program.operations.indices, tokens: rows, outputs: rows)
  }

  @Test func `few rows have no kernel for it`() throws {
    for hasResidual in [false, true] {
      let operation = Self.operation(topK: 3, hasResidual: hasResidual)
      for rows in [1, 8, 9, 100] {
        let names = try Self.names(operation, rows: rows)
        #expect(names.contains("combine_experts") == (rows > 8), "\(rows): \(names)")
        #expect(names.contains("units_fp8_few") == (rows <= 8), "\(rows): \(names)")
        let gated = names.filter { $0.contains("_gated_") }
        #expect(rows > 8 || gated.isEmpty, "\(rows): \(names)")
      }
    }
  }

  /// More tiles of the shared ones than of an expert, so that their blocks are several layers.
  @Test func `shared experts may be wider, or of another format`() throws {
    let names = try Self.names(Self.operation(topK: 3, hasResidual: true), rows: 2)
    #expect(names.filter { $0.hasPrefix("units_") }.count == 1, "\(names)")
    let device = try EmulatedGPU.device(.fp8a8)
    let operation = Self.operation(topK: 3, hasResidual: true)
    let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
    let others = try device.kernelNames(
      run.program.operations.indices, tokens: 2, outputs: 2)
    #expect(!others.contains { $0.hasPrefix("units_") }, "\(others)")
  }

  @Test func `a layer of V2-Lite has ten kernels for one row`() throws {
    let golden = try SyntheticCheckpoint("v2-lite")
    let checkpoint = try Checkpoint(directory: golden.directory)
    let device = try EmulatedGPU.device(.fp8)
    let run = try CPUModelRun(Model.program(for: checkpoint), checkpoint, on: device)
    let layer = try #require(run.program.layers.last)
    let names = try device.kernelNames(layer, tokens: 1, outputs: 1)
    #expect(
      names == [
        "normed_fp8_few", "latent_few", "attend_128", "latent_values_few", "product_fp8_few",
        "rms_norm", "route_1_choose_64", "units_fp8_few", "product_fp8_few", "product_fp8_few",
      ])
  }

  @Test func `a sum that is read twice has its own kernel`() throws {
    let operation = Self.operation(topK: 2, hasResidual: false, readsTwice: true)
    let names = try Self.names(operation, rows: 1)
    #expect(names.contains("combine_experts"), "\(names)")
    let difference = try operation.largestDifference(
      of: EmulatedGPU.device(.bf16), weights: RandomWeights(type: .bfloat16))
    #expect(difference <= 8e-3, "\(difference)")
  }
}
