// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// Products of many tokens by `wgmma` (emulated GPU 0) have the bits of those by `mma`: in small
/// steps, and on a GPU that has nothing else (1).
@Suite struct CUDAPrefillTests {
  /// 155 rows a step: a whole block of tokens and a part of one.
  private static let lengths = [60, 1, 50, 44]

  static let cases = [
    OperationCase("linear with bias", width: 300, lengths: lengths) { b, x in
      b.linear(x, Weight("w", [35, 300]), bias: Weight("bias", [35]))
    },
    // More spans than parts, a last part with fewer, more rows than a block has.
    OperationCase("long linear", width: 1_300, lengths: lengths) { b, x in
      b.linear(x, Weight("w", [150, 1_300]))
    },
    OperationCase("three of one input", width: 40, lengths: lengths) { b, x in
      let parts = [("q", 50), ("k", 19), ("v", 33)].map { name, width in
        b.linear(x, Weight(name, [width, 40]), bias: Weight("\(name).bias", [width]))
      }
      return b.join(b.join(parts[0], parts[1]), parts[2])
    },
    OperationCase("gated unit and residual", width: 70, lengths: lengths) { b, x in
      let unit = b.swiglu(
        gate: b.linear(x, Weight("gate", [90, 70])), up: b.linear(x, Weight("up", [90, 70])))
      return b.add(b.linear(unit, Weight("down", [70, 90])), x)
    },
    // 93 slots of an expert on average: some have more than a block, some less.
    OperationCase("experts", width: 40, lengths: lengths) { b, x in
      let routing = b.route(
        x, Weight("router", [5, 40]), scoring: .softmax, topK: 3, normalize: false, scale: 1)
      return b.experts(
        x, routing: routing,
        (0..<5).map {
          Experts.Expert(
            gate: Weight("\($0).gate", [75, 40]), up: Weight("\($0).up", [75, 40]),
            down: Weight("\($0).down", [40, 75]))
        })
    },
  ]

  /// Few rows, of which a device has no more: the same kernels where a matrix keeps a GPU busy.
  @Test func `a batch has the bits of few`() throws {
    let operation = OperationCase("wide linear", width: 200, lengths: [40, 33]) { b, x in
      b.linear(x, Weight("w", [300, 200]))
    }
    let results = try [0, 1].map { gpu in
      try DeviceDriver(
        operation.program, on: [try EmulatedGPU.device(gpu: gpu, .fp8)], rowCountMax: 32
      ).results(of: operation.sequences, chunk: 16).flatMap { $0 }
    }
    let isSame = bitsEqual(results[0], results[1])
    #expect(isSame)
  }

  @Test(arguments: cases, [CUDAPrecision.bf16, .fp8, .w8, .w4, .w8a8])
  func `many tokens have the bits of few`(operation: OperationCase, precision: CUDAPrecision) throws
  {
    func results(gpu: Int, chunk: Int) throws -> [Float] {
      try DeviceDriver(
        operation.program, RandomWeights(), on: [try EmulatedGPU.device(gpu: gpu, precision)]
      ).results(of: operation.sequences, chunk: chunk).flatMap { $0 }
    }
    let many = try results(gpu: 0, chunk: .max)
    let isWhole = many.allSatisfy { $0.isFinite }
    #expect(isWhole)
    let few = try results(gpu: 0, chunk: 9)
    let isSame = bitsEqual(many, few)
    #expect(isSame)
    let other = try results(gpu: 1, chunk: .max)
    let isSameElsewhere = bitsEqual(many, other)
    #expect(isSameElsewhere)
  }
}
