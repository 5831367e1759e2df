// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// The token of the largest logit, found on an emulated GPU.
@Suite struct CUDALargestTests {
  private static let width = 9_000

  /// A program whose output is `width` wide, at a step of some rows.
  private func device(rows: Int) throws -> (CUDADevice, ValueID) {
    let operation = OperationCase("wide", width: 8) { b, x in
      b.linear(x, Weight("w", [Self.width, 8]))
    }
    let run = try CPUModelRun(
      operation.program, RandomWeights(), on: try EmulatedGPU.device())
    var started = run
    try started.begin(CPUModelRun.plan([(0, [Int32](repeating: 0, count: rows), 0)]))
    let device = try #require(run.device as? CUDADevice)
    return (device, operation.program.operations[1].writes[0])
  }

  private func largest(_ rows: [[Float]]) throws -> [Int32] {
    let (device, value) = try device(rows: rows.count)
    try rows.flatMap { $0 }.withUnsafeBufferPointer { try device.write(value, from: $0) }
    var columns = [Int32](repeating: -2, count: rows.count)
    try columns.withUnsafeMutableBufferPointer { try device.readLargest(value, into: $0) }
    return columns
  }

  @Test func `the lowest of the largest wins, wherever it is`() throws {
    var random = SeededGenerator(seed: 7)
    var rows = (0..<5).map { _ in
      (0..<Self.width).map { _ in Float.random(in: -4...(-1), using: &random) }
    }
    rows[0][8_999] = -0.5
    rows[1][0] = 3
    // Equal ones in different blocks, and zeros of either sign.
    rows[2][4_097] = 0
    rows[2][4_095] = -0.0
    rows[3][8_000] = .greatestFiniteMagnitude
    rows[3][200] = .greatestFiniteMagnitude
    let expected = rows[4].indices.max {
      (rows[4][$0], -$0) < (rows[4][$1], -$1)
    }
    #expect(try largest(rows) == [8_999, 0, 4_095, 200, Int32(try #require(expected))])
  }

  @Test(arguments: [Float.nan, -.nan, .infinity, -.infinity])
  func `a row with no finite number has none`(value: Float) throws {
    var rows = [[Float]](repeating: [Float](repeating: 1, count: Self.width), count: 2)
    rows[1][5_000] = value
    #expect(try largest(rows) == [0, -1])
  }
}
