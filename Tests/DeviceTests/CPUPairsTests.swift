// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Conformance
import Device
import Models
import Program
import TestSupport
import Testing

extension CPULevel {
  /// Those of this machine that differ in `precision`.
  static func available(for precision: CPUPrecision) -> [CPULevel] {
    available.filter { $0.level(for: precision) == $0 }
  }
}

/// Products of bf16 with bf16, on machines that have an instruction for them.
@Suite(.enabled(if: CPULevel.available.contains(.avx512bf16)))
struct CPUPairsTests {
  private func device(
    _ cache: CPUCachePrecision = .bf16, threads: Int = 3
  ) throws -> CPUDevice {
    try CPUDevice(
      .init(precision: .bf16, cachePrecision: cache, threadCount: threads, level: .avx512bf16))
  }

  private func results(
    of operation: OperationCase, _ weights: any WeightSource, on device: any Device,
    chunk: Int = .max
  ) throws -> [[Float]] {
    try DeviceDriver(operation.program, weights, on: [device], rowCountMax: 2_048)
      .results(of: operation.sequences, chunk: chunk)
  }

  /// Inputs and weights that bf16 holds exactly, so that nothing is rounded but sums.
  @Test(
    arguments: OperationCase.all.filter {
      $0.name.hasPrefix("linear") || $0.name.hasPrefix("headwise")
    })
  func `products of what bf16 holds equal the reference`(operation: OperationCase) throws {
    let names = Set(operation.program.operations.flatMap(\.weights).map(\.name))
    let rounded = CPURoundedWeights(names, RandomWeights())
    let expected = try results(of: operation, rounded, on: ReferenceDevice())
    let actual = try results(of: operation, rounded, on: device())
    #expect(OperationCase.largestDifference(actual, expected) < 2e-5)
    let unrounded = try results(of: operation, RandomWeights(), on: ReferenceDevice())
    let other = try results(of: operation, RandomWeights(), on: device())
    let difference = OperationCase.largestDifference(other, unrounded)
    #expect(difference > 2e-4 && difference < 8e-3)
  }

  /// Queries, keys and values from tables, in bf16 exactly; of even and odd widths and lengths.
  private static func fromTables(scale: Float) -> [OperationCase] {
    [
      OperationCase("grouped heads", width: 6 * 15, lengths: [301, 70, 1, 2]) { b, q in
        let kv = b.embed(Weight("kv", [6 * 23, 2 * (15 + 23)]))
        return b.attention(
          queries: Columns(q, width: 15, count: 6, stride: 15),
          keys: Columns(kv, width: 15, count: 2, stride: 15),
          values: Columns(kv, offset: 2 * 15, width: 23, count: 2, stride: 23), scale: scale)
      },
      OperationCase("latents", width: 13 * 39, lengths: [131, 20, 1, 2]) { b, q in
        let kv = b.embed(Weight("kv", [13 * 33, 39]))
        return b.latentAttention(
          latentQueries: Columns(q, width: 33, count: 13, stride: 39),
          ropeQueries: Columns(q, offset: 33, width: 6, count: 13, stride: 39),
          latent: Columns(kv, width: 33), ropeKey: Columns(kv, offset: 33, width: 6),
          scale: scale)
      },
    ]
  }

  /// Without a scale all weights are one, which bf16 holds.
  @Test(arguments: [(Float(0), Float(2e-5)), (40, 6e-3)])
  func `attention equals the reference`(scale: Float, tolerance: Float) throws {
    for operation in Self.fromTables(scale: scale) {
      let names = Set(operation.program.operations.flatMap(\.weights).map(\.name))
      let rounded = CPURoundedWeights(names, RandomWeights())
      let expected = try results(of: operation, rounded, on: ReferenceDevice())
      let actual = try results(of: operation, rounded, on: device(), chunk: 47)
      let difference = OperationCase.largestDifference(actual, expected)
      #expect(difference < tolerance, "\(operation.name)")
    }
  }

  @Test(arguments: OperationCase.longAttention + OperationCase.deepAttention)
  func `chunks, threads and the batch change no bit`(operation: OperationCase) throws {
    let whole = try results(of: operation, RandomWeights(), on: device(threads: 1))
    for (threads, chunk) in [(1, 1), (2, 3), (5, 64), (3, 71)] {
      let other = try results(
        of: operation, RandomWeights(), on: device(threads: threads), chunk: chunk)
      let areEqual = zip(other, whole).allSatisfy(bitsEqual)
      #expect(areEqual, "\(threads) threads, chunks of \(chunk)")
    }
  }

  /// Each operation gets the reference's inputs, so that no router decides otherwise for an error
  /// before it.
  @Test(arguments: ["qwen2", "llama3", "v2-groups", "v3"])
  func `rounding costs each operation of a model little`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let comparison = try DeviceComparison(
      program, CPURoundedWeights(program, checkpoint), device: device(),
      rowCount: golden.prompt.count)
    let products = ["linear", "headwiseLinear", "experts", "attention", "latentAttention"]
    for result in try comparison.results(of: golden.prompt, chunk: 19) {
      #expect(result.error <= 8e-3, "\(result.operation)")
      let isProduct = products.contains(result.operation)
      #expect(isProduct || result.error <= 1e-4, "\(result.operation)")
    }
  }

  @Test func `precisions for comparing round no activations`() throws {
    for precision in [CPUPrecision.f32, .fp8] {
      let device = try CPUDevice(
        .init(precision: precision, threadCount: 1, level: .avx512bf16))
      #expect(device.summary.contains("avx512vnni"))
    }
    #expect(try device().summary.contains("avx512bf16"))
  }
}
