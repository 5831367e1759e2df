// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// Codes that products read, made by who writes a value where it has whole spans of a row: those
/// of the kernel that makes them of floats.
@Suite struct CUDAMadeCodesTests {
  private static let precisions = [CUDAPrecision.w8a8, .fp8a8]

  /// Two sequences, 82 rows together: a step of more than 64 has no parts of keys to merge.
  private static func attention(
    _ name: String, heads: Int, keys keyHeads: Int, values: Int,
    _ body: (inout ProgramBuilder, ValueID) -> ValueID
  ) -> OperationCase {
    OperationCase("attention, \(name)", width: 24, lengths: [70, 12]) { b, x in
      let q = b.linear(x, Weight("q", [heads * 16, 24]))
      let k = b.linear(x, Weight("k", [keyHeads * 16, 24]))
      let v = b.linear(x, Weight("v", [keyHeads * values, 24]))
      let attended = b.attention(
        queries: Columns(q, width: 16, count: heads, stride: 16),
        keys: Columns(k, width: 16, count: keyHeads, stride: 16),
        values: Columns(v, width: values, count: keyHeads, stride: values), scale: 0.8)
      return body(&b, attended)
    }
  }

  private static func output(_ b: inout ProgramBuilder, _ x: ValueID) -> ValueID {
    b.linear(x, Weight("o", [35, b.width(of: x)]))
  }

  private static let merged = [
    attention("3 heads of 128", heads: 3, keys: 1, values: 128, output),
    attention("4 heads of 256 over 2", heads: 4, keys: 2, values: 256, output),
    attention("2 heads that are added too", heads: 2, keys: 1, values: 128) { b, x in
      b.add(b.linear(x, Weight("o", [256, 256])), x)
    },
  ]
  /// A span has columns of two heads.
  private static let apart = [
    attention("4 heads of 64", heads: 4, keys: 2, values: 64, output)
  ]

  @Test(arguments: merged + apart, precisions)
  func `the merge of an attention makes the codes of its floats`(
    operation: OperationCase, precision: CUDAPrecision
  ) throws {
    func results(chunk: Int, _ steps: CUDASteps = .graphs) throws -> [Float] {
      try DeviceDriver(
        operation.program, RandomWeights(type: .bfloat16),
        on: [try EmulatedGPU.device(precision, steps: steps)]
      ).results(of: operation.sequences, chunk: chunk).flatMap { $0 }
    }
    let ofFloats = try results(chunk: .max)
    let isWhole = ofFloats.allSatisfy { $0.isFinite }
    #expect(isWhole)
    for chunk in [1, 9, 31] {
      let isSame = bitsEqual(try results(chunk: chunk), ofFloats)
      #expect(isSame, "chunks of \(chunk)")
    }
    if precision == .w8a8 {
      let isSame = bitsEqual(try results(chunk: 2, .oneLaunch), ofFloats)
      #expect(isSame, "one launch")
    }
  }

  private static func names(_ operation: OperationCase, rows: [Int]) throws -> [[String]] {
    let device = try EmulatedGPU.device(.w8a8)
    let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
    return try rows.map {
      try device.kernelNames(run.program.operations.indices, tokens: $0, outputs: $0)
    }
  }

  /// Behind the embedding there is one more.
  @Test func `what makes codes in passing needs no kernel behind it`() throws {
    for (operations, count) in [(Self.merged, 1), (Self.apart, 2)] {
      for operation in operations {
        let names = try Self.names(operation, rows: [1, 64, 65])
        for few in names.prefix(2) {
          #expect(few.filter { $0 == "quantize_rows" }.count == count, "\(operation.name): \(few)")
          #expect(few.contains("merge_codes") == (count == 1), "\(operation.name): \(few)")
        }
        #expect(names[2].filter { $0 == "quantize_rows" }.count == 2, "\(operation.name)")
      }
    }
  }

  /// A norm's floats are kept where a sum reads them too, and nowhere else.
  @Test(arguments: precisions, [false, true])
  func `a norm's codes are the same with and without its floats`(
    precision: CUDAPrecision, isReadOtherwise: Bool
  ) throws {
    let operation = OperationCase("norm", width: 300, lengths: [60, 20]) { b, x in
      let normed = b.rmsNorm(x, Weight("norm", [300]), epsilon: 1e-6)
      let product = b.linear(normed, Weight("w", [300, 300]))
      return b.add(product, isReadOtherwise ? normed : x)
    }
    let device = try EmulatedGPU.device(precision)
    let difference = try operation.largestDifference(
      of: device, weights: RandomWeights(type: .bfloat16))
    #expect(difference <= (precision == .w8a8 ? 0.025 : 0.06), "\(difference)")
    let names = try device.kernelNames(operation.program.operations.indices, tokens: 9, outputs: 9)
    #expect(!names.contains("quantize_rows"), "\(names)")
  }
}
