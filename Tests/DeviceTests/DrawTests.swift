// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADevice
import Conformance
import Device
import Step
import TestSupport
import Testing

/// Tokens drawn on an emulated GPU: those that the host draws, bit for bit.
@Suite struct DrawTests {
  private func comparison(width: Int, rows: Int) throws -> DrawComparison {
    try DrawComparison(try EmulatedGPU.device(), width: width, rowCountMax: rows)
  }

  @Test(arguments: [(1, 8), (2, 20), (40, 60), (1_000, 60), (1_025, 60), (5_000, 40)])
  func `a GPU draws the host's tokens`(width: Int, rounds: Int) throws {
    let comparison = try comparison(width: width, rows: 25)
    for seed in 0..<UInt64(rounds) {
      let count = 1 + Int(seed * 7) % 25
      #expect(try comparison.differences(seed: seed, count: count) == 0, "seed \(seed)")
    }
  }

  @Test func `more rows than are drawn from together`() throws {
    let comparison = try comparison(width: 2_049, rows: 131)
    #expect(try comparison.differences(seed: 1, count: 131) == 0)
  }

  @Test func `more columns near a cut than there is room to look at apart`() throws {
    let comparison = try comparison(width: 20_000, rows: 5)
    for seed in 0..<4 {
      #expect(try comparison.differences(seed: UInt64(seed), count: 5) == 0, "seed \(seed)")
    }
    // Of 20,000 equals the first 9,000, the first half of these; the one in their middle.
    let half: UInt64 = 1 << 63
    let logits = [Float](repeating: -3, count: 2 * 20_000)
    let draws = [
      TokenDraw(scale: 2, topK: 9_000, topP: half, random: half),
      TokenDraw(scale: 2, topP: half, random: half),
    ]
    #expect(try comparison.drawn(draws, from: logits).tokens == [2_250, 5_000])
  }

  @Test func `what is behind a cut is not kept, however close its key is`() throws {
    // The second and third are of one bucket and have keys that differ from the first bit on; the
    // others, of the next, begin like the third.
    let comparison = try comparison(width: 5, rows: 2)
    let logits: [Float] = [0.975, 0.005, -0.02, -0.03, -0.031]
    let draws = [
      TokenDraw(scale: 1, topK: 3, random: .max),
      TokenDraw(scale: 1, topP: .max / 20 * 13, random: .max),
    ]
    #expect(try comparison.drawn(draws, from: logits + logits).tokens == [2, 2])
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func `nothing is drawn from a row with a logit that is no finite number`(value: Float) throws {
    let comparison = try comparison(width: 3_000, rows: 4)
    var logits = [Float](repeating: 1, count: 4 * 3_000)
    logits[3_000 + 2_999] = value
    logits[2 * 3_000] = value
    let draw = TokenDraw(scale: 1, topK: 5, random: 1 << 63)
    let last = TokenDraw(scale: 1, random: .max)
    let drawn = try comparison.drawn([draw, draw, last, last], from: logits)
    #expect(drawn.tokens == [2, -1, -1, 2_999])
  }

  @Test func `a CPU takes the largest, and gives the other rows`() throws {
    let device = try CPUDevice(CPUDeviceConfiguration(threadCount: 2))
    let comparison = try DrawComparison(device, width: 1_025, rowCountMax: 20)
    for seed in 0..<10 { #expect(try comparison.differences(seed: UInt64(seed), count: 20) == 0) }
  }
}
