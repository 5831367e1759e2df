// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Device
import Program
import TestSupport
import Testing

/// Keys and values as the CPU device keeps them, over more keys than a span has.
@Suite struct CPUCacheTests {
  static let operations = OperationCase.longAttention + OperationCase.deepAttention
  static let cases = operations.flatMap { operation in
    CPULevel.available(for: .f32).map { (operation, $0) }
  }

  /// Tokens of a block: of a part of a group of 16, of one, and of groups of which one is partial.
  static let blockTokens = [4, 16, 36]

  private func results(
    of operation: OperationCase, _ weights: any WeightSource = RandomWeights(),
    on device: any Device, blockTokens: Int = 16, chunk: Int = .max
  ) throws -> [[Float]] {
    try DeviceDriver(
      operation.program, weights, on: [device], rowCountMax: 2_048, blockTokens: blockTokens
    ).results(of: operation.sequences, chunk: chunk)
  }

  @Test(arguments: cases)
  func `attention over many keys equals the reference`(
    operation: OperationCase, level: CPULevel
  ) throws {
    let expected = try results(of: operation, on: ReferenceDevice())
    for blockTokens in Self.blockTokens {
      let device = try CPUDevice(.init(precision: .f32, threadCount: 2, level: level))
      let actual = try results(of: operation, on: device, blockTokens: blockTokens, chunk: 100)
      #expect(OperationCase.largestDifference(actual, expected) < 2e-5, "\(blockTokens)")
    }
  }

  /// Keys and values as a table has them, heads of even and of odd width.
  private static let fromTables: [OperationCase] = [
    OperationCase("keys of a table", width: 24, lengths: [300, 70]) { b, x in
      let q = b.linear(x, Weight("q", [6 * 16, 24]))
      let kv = b.embed(Weight("kv", [6 * 23, 2 * (16 + 23)]))
      return b.attention(
        queries: Columns(q, width: 16, count: 6, stride: 16),
        keys: Columns(kv, width: 16, count: 2, stride: 16),
        values: Columns(kv, offset: 2 * 16, width: 23, count: 2, stride: 23), scale: 2)
    },
    OperationCase("latents of a table", width: 24, lengths: [130, 20]) { b, x in
      let q = b.linear(x, Weight("q", [5 * 39, 24]))
      let kv = b.embed(Weight("kv", [5 * 33, 39]))
      return b.latentAttention(
        latentQueries: Columns(q, width: 33, count: 5, stride: 39),
        ropeQueries: Columns(q, offset: 33, width: 6, count: 5, stride: 39),
        latent: Columns(kv, width: 33), ropeKey: Columns(kv, offset: 33, width: 6), scale: 2)
    },
  ]

  @Test(arguments: fromTables, CPULevel.available(for: .f32))
  func `bf16 gives the bits of f32 with keys and values rounded to nearest even`(
    operation: OperationCase, level: CPULevel
  ) throws {
    func results(_ cache: CPUCachePrecision, _ weights: any WeightSource) throws -> [[Float]] {
      try self.results(
        of: operation, weights,
        on: CPUDevice(
          .init(precision: .f32, cachePrecision: cache, threadCount: 2, level: level)))
    }
    let weights = RandomWeights()
    let actual = try results(.bf16, weights)
    let expected = try results(.f32, CPURoundedWeights(["kv"], weights))
    let areEqual = zip(actual, expected).allSatisfy(bitsEqual)
    #expect(areEqual)
    let areUnrounded = try zip(actual, results(.f32, weights)).allSatisfy(bitsEqual)
    #expect(!areUnrounded)
  }

  @Test(arguments: cases, [CPUCachePrecision.f32, .bf16])
  func `chunks, threads and the batch change no bit of long sequences`(
    of: (operation: OperationCase, level: CPULevel), cache: CPUCachePrecision
  ) throws {
    func device(_ threads: Int) throws -> CPUDevice {
      try CPUDevice(
        .init(precision: .f32, cachePrecision: cache, threadCount: threads, level: of.level))
    }
    let whole = try results(of: of.operation, on: device(1))
    for (threads, chunk) in [(1, 1), (2, 3), (5, 64), (3, 71)] {
      let other = try results(of: of.operation, on: device(threads), chunk: chunk)
      let areEqual = zip(other, whole).allSatisfy(bitsEqual)
      #expect(areEqual, "\(threads) threads, chunks of \(chunk)")
    }
  }

  @Test func `a budget counts the bytes that are kept`() {
    func bytes(_ precision: CPUPrecision, _ cache: CPUCachePrecision = .auto) -> Int {
      CPUDeviceConfiguration(precision: precision, cachePrecision: cache).cacheElementBytes
    }
    #expect([.auto, .bf16, .w8, .w4].allSatisfy { bytes($0) == 2 })
    #expect([.f32, .fp8].allSatisfy { bytes($0) == 4 })
    #expect(bytes(.w8, .f32) == 4)
    #expect(bytes(.f32, .bf16) == 2)
  }
}
