// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Device
import Models
import Program
import TestSupport
import Testing

/// Codes of calibrated checkpoints, multiplied on an emulated GPU as they are stored.
@Suite struct CUDACalibratedTests {
  /// A matrix `w` of codes, or all matrices; what is multiplied comes from a table in bfloat16, so
  /// that products take it as it is.
  struct Weights: WeightSource, CustomTestStringConvertible {
    var codes: CalibratedWeights
    /// Of the first matrix that is another, if there is one.
    var others: CalibratedWeights?

    func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
      let isCoded = weight.shape.count == 2 && !weight.name.hasSuffix(".embed")
      if weight.name == "router" || !isCoded {
        return try RandomWeights(type: .bfloat16).tensor(weight)
      }
      if let others, weight.name == "3.down" { return try others.tensor(weight) }
      return try codes.tensor(weight)
    }

    var testDescription: String {
      "int\(codes.bits) of \(codes.group.map(String.init) ?? "rows"), \(codes.layout)"
    }
  }

  /// Each format of a kernel, each order of words, each type of scales; groups of several spans.
  private static let weights = [
    CalibratedWeights(bits: 4, group: 32, layout: .columnsFirst),
    CalibratedWeights(bits: 4, group: 64, layout: .alongRows, scaleType: .bfloat16),
    CalibratedWeights(bits: 4, group: 128, hasZeros: false),
    CalibratedWeights(bits: 4, group: 256, layout: .alongRows),
    CalibratedWeights(bits: 4, group: nil, scaleType: .float32),
    CalibratedWeights(bits: 8, group: 32, scaleType: .bfloat16),
    CalibratedWeights(bits: 8, group: 64, layout: .columnsFirst),
    CalibratedWeights(bits: 8, group: 128, layout: .alongRows, scaleType: .float32),
    CalibratedWeights(bits: 8, group: nil, hasZeros: false),
  ].map { Weights(codes: $0) }

  /// One for each format of a kernel.
  private static let formats = weights.filter { [32, 64, 128].contains($0.codes.group) }

  private static let shapes = [(7, 13), (64, 96), (300, 33), (1_100, 40)]

  private func results(
    _ operation: OperationCase, _ weights: some WeightSource, on device: any Device,
    chunk: Int = .max
  ) throws -> [[Float]] {
    try DeviceDriver(operation.program, weights, on: [device])
      .results(of: operation.sequences, chunk: chunk)
  }

  private static func linear(_ inner: Int, _ outer: Int, lengths: [Int]) -> OperationCase {
    OperationCase("linear \(inner) to \(outer)", width: inner, lengths: lengths) { b, x in
      b.linear(x, Weight("w", [outer, inner]))
    }
  }

  @Test(arguments: weights)
  func `products equal the reference`(weights: Weights) throws {
    for (inner, outer) in Self.shapes {
      let operation = Self.linear(inner, outer, lengths: [1, 9, 4, 17])
      let device = try EmulatedGPU.device()
      let found = try results(operation, weights, on: device)
      let expected = try results(operation, weights, on: ReferenceDevice())
      let difference = OperationCase.largestDifference(found, expected)
      #expect(difference <= 3e-5, "\(inner) to \(outer): \(difference)")
      #expect(device.summary.contains("int\(weights.codes.bits)"), "\(device.summary)")
    }
  }

  /// Each code of each row and column at its place, with its own scale and zero: exactly.
  @Test(arguments: weights)
  func `products have the very values`(weights: Weights) throws {
    let codes = weights.codes
    let (program, _, matrix) = CPUCodesTests.linear(inner: 150, columns: 176, table: "identity")
    var run = try CPUModelRun(program, codes, on: try EmulatedGPU.device())
    let rows = try CPUCodesTests.rows(of: matrix, codes)
    let tokens = (0..<120).map { Int32($0) }
    let plan = CPUModelRun.plan([(0, Array(tokens[..<60]), 0), (1, Array(tokens[60...]), 0)])
    let expected = tokens.flatMap { token in rows.map { $0[Int(token)] } }
    // Not bit for bit: a zero may have another sign.
    #expect(try run.logits(plan) == expected)
  }

  /// Few and many tokens, gates, sums and experts, by each kernel, with and without `wgmma`.
  @Test(arguments: CUDAPrefillTests.cases, formats)
  func `many tokens have the bits of few`(operation: OperationCase, weights: Weights) throws {
    let many = try results(operation, weights, on: try EmulatedGPU.device())
    let expected = try results(operation, weights, on: ReferenceDevice())
    let tolerance: Float = operation.name == "experts" ? 8e-3 : 4e-3
    let difference = OperationCase.largestDifference(many, expected)
    #expect(difference <= tolerance, "\(difference)")
    for (gpu, chunk) in [(0, 9), (1, .max)] {
      let other = try results(
        operation, weights, on: try EmulatedGPU.device(gpu: gpu), chunk: chunk)
      let isSame = bitsEqual(other.flatMap { $0 }, many.flatMap { $0 })
      #expect(isSame, "GPU \(gpu), chunks of \(chunk)")
    }
  }

  /// More codes than go to a GPU at once: by rows, and by columns.
  @Test(arguments: [
    Weights(codes: CalibratedWeights(bits: 8, group: 64)),
    Weights(codes: CalibratedWeights(bits: 4, group: 128, layout: .columnsFirst)),
  ])
  func `large matrices come in parts`(weights: Weights) throws {
    let operation = Self.linear(2_900, 3_000, lengths: [2])
    let found = try results(operation, weights, on: try EmulatedGPU.device())
    let expected = try results(operation, weights, on: ReferenceDevice())
    let difference = OperationCase.largestDifference(found, expected)
    #expect(difference <= 3e-5, "\(difference)")
  }

  /// They become bfloat16: groups of 48, and experts of which one has other codes.
  @Test func `codes that no kernel takes are converted`() throws {
    let small = Self.linear(96, 32, lengths: [3, 9])
    let odd = Weights(codes: CalibratedWeights(bits: 4, group: 48))
    let mixed = Weights(
      codes: CalibratedWeights(bits: 4, group: 32), others: CalibratedWeights(bits: 8, group: 32))
    let experts = try #require(CUDAPrefillTests.cases.first { $0.name == "experts" })
    for (operation, weights) in [(small, odd), (experts, mixed)] {
      let device = try EmulatedGPU.device()
      let found = try results(operation, weights, on: device)
      let expected = try results(operation, weights, on: ReferenceDevice())
      #expect(OperationCase.largestDifference(found, expected) <= 8e-3)
      #expect(device.summary.contains("bf16"), "\(device.summary)")
    }
  }

  /// 4 or 8 bits, and 5 bytes for each group.
  @Test func `it takes the memory of its codes`() throws {
    let (program, _, _) = CPUCodesTests.linear(inner: 1_024, columns: 512)
    for (bits, group, expected) in [
      (4, 128, 4.3125), (4, 64, 4.625), (4, 32, 5.25), (8, 128, 8.3125), (8, 32, 9.25),
    ] {
      let weights = CalibratedWeights(bits: bits, group: group)
      let traffic = try CUDATraffic(program, from: weights, precision: .auto)
      let linear = try #require(
        program.operations.firstIndex { if case .linear = $0 { true } else { false } })
      let bytes = traffic.bytes(ofOperation: linear, rows: 1, context: 1)
      #expect(Double(bytes * 8) / Double(1_024 * 512) == expected)
    }
  }

  @Test(arguments: [CUDAPrecision.w4, .w8a8, .fp8a8])
  func `other precisions of integers are refused`(precision: CUDAPrecision) throws {
    let operation = Self.linear(64, 32, lengths: [1])
    let weights = Weights(codes: CalibratedWeights(bits: 4, group: 32))
    let error = #expect(throws: DeviceError.self) {
      _ = try results(operation, weights, on: try EmulatedGPU.device(precision))
    }
    #expect(error?.message.contains("were calibrated; expected precision auto or bf16") == true)
  }
}
