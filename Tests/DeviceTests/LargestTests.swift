// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Device
import Program
import Step
import TestSupport
import Testing

/// The token of the largest logit, found on an emulated GPU and on each level of a CPU.
@Suite struct LargestTests {
  private static let width = 9_001

  /// nil is the GPU.
  static let levels: [CPULevel?] = [nil] + CPULevel.available

  /// A program whose output is `width` wide, at a step of some rows.
  private func device(_ level: CPULevel?, rows: Int) throws -> (any TokenDrawer, ValueID) {
    let operation = OperationCase("wide", width: 8) { b, x in
      b.linear(x, Weight("w", [Self.width, 8]))
    }
    let device: any TokenDrawer =
      if let level {
        try CPUDevice(CPUDeviceConfiguration(precision: .f32, threadCount: 2, level: level))
      } else {
        try EmulatedGPU.device()
      }
    var run = try CPUModelRun(operation.program, RandomWeights(), on: device)
    try run.begin(CPUModelRun.plan([(0, [Int32](repeating: 0, count: rows), 0)]))
    return (device, operation.program.operations[1].writes[0])
  }

  private func largest(_ rows: [[Float]], _ level: CPULevel?) throws -> [Int32] {
    let (device, value) = try device(level, rows: rows.count)
    try rows.flatMap { $0 }.withUnsafeBufferPointer { try device.write(value, from: $0) }
    var columns = [Int32](repeating: -7, count: rows.count)
    var reports = [LogitReport](repeating: LogitReport(), count: rows.count)
    let draws = [TokenDraw?](repeating: .largest, count: rows.count)
    try columns.withUnsafeMutableBufferPointer { columns in
      try reports.withUnsafeMutableBufferPointer { reports in
        try draws.withUnsafeBufferPointer { draws in
          let none = UnsafeBufferPointer<TokenAdjustment>(start: nil, count: 0)
          try device.draw(
            value, StepDraws(rows: draws, adjustments: none), into: columns, reports: reports)
        }
      }
    }
    return columns
  }

  @Test(arguments: levels)
  func `the lowest of the largest wins, wherever it is`(level: CPULevel?) throws {
    var random = SeededGenerator(seed: 7)
    var rows = (0..<7).map { _ in
      (0..<Self.width).map { _ in Float.random(in: -4...(-1), using: &random) }
    }
    rows[0][9_000] = -0.5
    rows[1][0] = 3
    // Equal ones in different blocks, and zeros of either sign.
    rows[2][4_097] = 0
    rows[2][4_095] = -0.0
    rows[3][8_000] = .greatestFiniteMagnitude
    rows[3][200] = .greatestFiniteMagnitude
    // In two lanes, and all equal.
    rows[5][2_003] = 1
    rows[5][2_018] = 1
    rows[6] = [Float](repeating: -7, count: Self.width)
    let expected = rows[4].indices.max {
      (rows[4][$0], -$0) < (rows[4][$1], -$1)
    }
    #expect(
      try largest(rows, level)
        == [9_000, 0, 4_095, 200, Int32(try #require(expected)), 2_003, 0])
  }

  @Test(arguments: levels, [Float.nan, -.nan, .infinity, -.infinity])
  func `a row with no finite number has none`(level: CPULevel?, value: Float) throws {
    var rows = [[Float]](repeating: [Float](repeating: 1, count: Self.width), count: 3)
    rows[1][5_000] = value
    rows[2][9_000] = value
    #expect(try largest(rows, level) == [0, -1, -1])
  }
}
