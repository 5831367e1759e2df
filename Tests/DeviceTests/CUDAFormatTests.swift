// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import CUDADriver
import Conformance
import Device
import Program
import TestSupport
import Testing

/// Products with each format of a weight, against the reference on what the codes stand for.
@Suite struct CUDAFormatTests {
  private static let shapes = [(7, 13), (64, 96), (130, 3), (300, 33), (257, 130)]

  private static func linear(_ inner: Int, _ outer: Int) -> OperationCase {
    OperationCase("linear \(inner) to \(outer)", width: inner) { b, x in
      b.linear(x, Weight("w", [outer, inner]))
    }
  }

  private func difference(
    _ inner: Int, _ outer: Int, _ precision: CUDAPrecision, _ weights: any WeightSource,
    expected: any WeightSource
  ) throws -> Float {
    let operation = Self.linear(inner, outer)
    let results = try DeviceDriver(
      operation.program, weights, on: [try EmulatedGPU.device(precision)]
    ).results(of: operation.sequences)
    let reference = try DeviceDriver(operation.program, expected, on: [ReferenceDevice()])
      .results(of: operation.sequences)
    return OperationCase.largestDifference(results, reference)
  }

  @Test(arguments: shapes)
  func `integers equal their definition`(inner: Int, outer: Int) throws {
    for (precision, codes) in [(CUDAPrecision.w8, CPUCodes.w8), (.w4, CPUCodes.w4)] {
      let rounded = RoundedMatrices { codes.rounded($0) }
      #expect(
        try difference(inner, outer, precision, MatrixWeights(), expected: rounded) <= 3e-5,
        "\(precision)")
    }
  }

  /// What is kept is bfloat16; what has no two of four is left with the largest two.
  @Test(arguments: shapes)
  func `two of four are the largest, and exact`(inner: Int, outer: Int) throws {
    let pruned = RoundedMatrices { row in
      stride(from: 0, to: row.count, by: 4).flatMap { start in
        let four = row[start..<min(row.count, start + 4)]
        let kept = four.indices.sorted { (abs(four[$0]), $1) > (abs(four[$1]), $0) }.prefix(2)
        return four.indices.map { kept.contains($0) ? four[$0].roundedToBFloat16 : 0 }
      }
    }
    #expect(try difference(inner, outer, .sparse, MatrixWeights(), expected: pruned) <= 3e-5)
  }

  /// The largest step of e4m3 is an eighth of a number; sums of many are nearer.
  @Test(arguments: shapes)
  func `FP8 of other weights is as near as its three bits`(inner: Int, outer: Int) throws {
    let found = try difference(inner, outer, .fp8, MatrixWeights(), expected: MatrixWeights())
    #expect(found <= 0.06, "\(found)")
    #expect(found > 1e-4, "it is FP8 at all: \(found)")
  }

  /// Stored scales, codes as they are: subnormal ones and zero among them.
  @Test(arguments: [128, 256], [40, 128, 300])
  func `stored FP8 is exact`(inner: Int, outer: Int) throws {
    let weights = BlockFP8Weights()
    #expect(try difference(inner, outer, .auto, weights, expected: weights) <= 3e-5)
  }

  @Test(arguments: [(8, CUDAPrecision.w4), (4, .w8a8), (8, .fp8a8)])
  func `panels must be of the precision that is asked for`(
    bits: Int, precision: CUDAPrecision
  ) throws {
    let operation = Self.linear(64, 96)
    let weights = PanelWeights(bits: bits)
    let device = try EmulatedGPU.device(precision)
    let error = #expect(throws: DeviceError.self) {
      try DeviceDriver(operation.program, weights, on: [device])
    }
    let message = error?.message ?? ""
    #expect(message.contains("packed as w\(bits)") && message.contains("not \(precision)"))
  }

  @Test func `panels of 8 bits are multiplied with 8-bit activations too`() throws {
    let device = try EmulatedGPU.device(.w8a8)
    _ = try DeviceDriver(Self.linear(64, 96).program, PanelWeights(bits: 8), on: [device])
    #expect(device.summary.contains("w8a8"))
  }
}

/// A matrix `w` in floats; what it is multiplied with comes from a table in bfloat16, so that
/// products take it as it is.
private struct MatrixWeights: WeightSource {
  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    try RandomWeights(type: weight.name == "w" ? .float32 : .bfloat16).tensor(weight)
  }
}

/// The same, the matrix rounded row by row.
private struct RoundedMatrices: WeightSource {
  var rounded: @Sendable ([Float]) -> [Float]

  init(_ rounded: @escaping @Sendable ([Float]) -> [Float]) { self.rounded = rounded }

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    let tensor = try MatrixWeights().tensor(weight)
    guard weight.name == "w" else { return tensor }
    let floats = tensor.dequantized()
    let columns = weight.columns
    return .floats(
      weight,
      stride(from: 0, to: floats.count, by: columns).flatMap {
        rounded(Array(floats[$0..<$0 + columns]))
      })
  }
}

/// The matrix `w` in FP8 with blocks of 128 × 128, all codes but NaN.
private struct BlockFP8Weights: WeightSource {
  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    guard weight.name == "w" else { return try MatrixWeights().tensor(weight) }
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: weight.elementCount, alignment: 64)
    for index in 0..<memory.count {
      let code = UInt8(truncatingIfNeeded: index &* 2_654_435_761 >> 7)
      memory[index] = code & 0x7F == 0x7F ? 0x7E : code
    }
    let perRow = (weight.columns + 127) / 128
    let count = (weight.rows + 127) / 128 * perRow
    return StoredTensor(
      weight: weight, type: .float8e4m3, bytes: UnsafeRawBufferPointer(memory),
      scales: BlockScales(
        blockRows: 128, blockColumns: 128, blocksPerRow: perRow,
        values: (0..<count).map { 0.001 * Float(1 + $0) }),
      owner: RawOwner(memory))
  }
}

/// Says that `w` is packed; nothing reads its panels.
private struct PanelWeights: WeightSource {
  var bits: Int

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    guard weight.name == "w" else { return try RandomWeights().tensor(weight) }
    let layout = PanelLayout(bits: bits, rows: weight.rows, columns: weight.columns)
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: layout.byteCount, alignment: PanelLayout.alignment)
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    return StoredTensor(
      weight: weight, panels: layout, bytes: UnsafeRawBufferPointer(memory),
      owner: RawOwner(memory))
  }
}

final class RawOwner: @unchecked Sendable {  // the memory is never written again
  let memory: UnsafeMutableRawBufferPointer
  init(_ memory: UnsafeMutableRawBufferPointer) { self.memory = memory }
  deinit { memory.deallocate() }
}

extension StoredTensor {
  /// 32-bit floats of the test's own.
  static func floats(_ weight: Weight, _ values: [Float]) -> StoredTensor {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: values.count * 4, alignment: 64)
    values.withUnsafeBytes { memory.copyMemory(from: $0) }
    return StoredTensor(
      weight: weight, type: .float32, bytes: UnsafeRawBufferPointer(memory), scales: nil,
      owner: RawOwner(memory))
  }
}
