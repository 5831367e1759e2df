// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// Norms that the blocks of the product behind them do themselves, at few rows: where they do, and
/// that it changes no bit.
@Suite struct CUDANormTests {
  /// Nine rows at most, some of each sequence.
  private static let lengths = [5, 4]

  private static func norm(_ b: inout ProgramBuilder, _ x: ValueID, _ name: String) -> ValueID {
    b.rmsNorm(x, Weight("\(name).norm", [b.width(of: x)]), epsilon: 1e-6)
  }

  /// Widths below, at and above spans of 128 columns, in fours and not.
  private static let linears = [1, 33, 128, 643, 1_284].map { width in
    OperationCase("linear behind a norm, \(width)", width: width, lengths: lengths) { b, x in
      b.linear(norm(&b, x, "first"), Weight("w", [35, width]), bias: Weight("bias", [35]))
    }
  }

  private static let others = [
    OperationCase("queries, keys and values", width: 300, lengths: lengths) { b, x in
      let normed = norm(&b, x, "first")
      let parts = [("q", 50), ("k", 19), ("v", 33)].map { name, width in
        b.linear(normed, Weight(name, [width, 300]), bias: Weight("\(name).bias", [width]))
      }
      return b.join(b.join(parts[0], parts[1]), parts[2])
    },
    OperationCase("gated unit, and the next layer's", width: 140, lengths: lengths) { b, x in
      let normed = norm(&b, x, "first")
      let unit = b.swiglu(
        gate: b.linear(normed, Weight("gate", [70, 140])),
        up: b.linear(normed, Weight("up", [70, 140])))
      let sum = b.add(b.linear(unit, Weight("down", [140, 70])), x)
      return b.linear(norm(&b, sum, "second"), Weight("w", [17, 140]))
    },
    // What is added is the norm's own input.
    OperationCase("a sum behind it", width: 130, lengths: lengths) { b, x in
      b.add(x, b.linear(norm(&b, x, "first"), Weight("w", [130, 130])))
    },
    // Neither its rows nor its columns begin at whole fours.
    OperationCase("some columns", width: 21, lengths: lengths) { b, x in
      let normed = b.rmsNorm(
        Columns(x, offset: 3, width: 13), Weight("first.norm", [13]), epsilon: 0.1)
      return b.linear(normed, Weight("w", [19, 13]))
    },
    // More columns than threads keep fours of.
    OperationCase("long rows", width: 8_229, lengths: [2]) { b, x in
      b.linear(norm(&b, x, "first"), Weight("w", [5, 8_229]))
    },
  ]

  private static let precisions: [CUDAPrecision] = [.bf16, .fp8, .w8, .w4, .w8a8, .sparse, .fp8a8]

  @Test(arguments: linears + others, precisions)
  func `a norm within a product changes no bit`(
    operation: OperationCase, precision: CUDAPrecision
  ) throws {
    let rows = operation.sequences.reduce(0) { $0 + $1.count }
    try operation.expectBitsOfOperations(
      (1...rows).map(operation.plan), steps: CUDASteps.allCases.filter { $0 != .oneLaunch }
    ) { try EmulatedGPU.device(precision, steps: $0) }
  }

  @Test func `ranges that end between norm and product change no bit`() throws {
    for operation in Self.others {
      let operations = operation.program.operations
      let norms = operations.indices.filter {
        if case .rmsNorm = operations[$0] { true } else { false }
      }
      var run = try CPUModelRun(
        operation.program, RandomWeights(type: .bfloat16), on: EmulatedGPU.device(.w8))
      guard case .logits(let value) = operation.program.output else { continue }
      let plan = operation.plan(rows: 2)
      let expected = try run.logits(plan)
      for end in norms.flatMap({ [$0, $0 + 1, $0 + 2] }) {
        try run.begin(plan)
        try run.device.run(0..<end)
        try run.device.run(end..<operations.count)
        let isSame = bitsEqual(try run.values(value), expected)
        #expect(isSame, "\(operation.name), in two at \(end)")
      }
    }
  }

  // MARK: Where there is none of its own

  /// The kernels of some operations, for each number of rows.
  private static func names(
    _ operation: OperationCase, _ precision: CUDAPrecision, rows: [Int],
    _ operations: Range<Int>? = nil
  ) throws -> [[String]] {
    let device = try EmulatedGPU.device(precision)
    let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
    return try rows.map {
      try device.kernelNames(
        operations ?? run.program.operations.indices, tokens: $0, outputs: $0)
    }
  }

  /// As many as have room in shared memory, and no more than a block has.
  private static func mostRows(_ operation: OperationCase, _ precision: CUDAPrecision) -> Int {
    let widths = operation.program.operations.map {
      if case .rmsNorm(let norm) = $0 { norm.input.width } else { 0 }
    }
    let spans = ((widths.max() ?? 0) + 127) / 128
    let bytes = precision == .w8a8 ? spans * 128 + (spans + 3) / 4 * 16 : spans * 256 + 32
    return precision == .fp8a8 ? 0 : min(8, 17_408 / bytes)
  }

  @Test(arguments: linears + others, precisions)
  func `few rows have no kernel for it`(operation: OperationCase, precision: CUDAPrecision) throws {
    let most = Self.mostRows(operation, precision)
    let rows = Array(1...9)
    for (count, names) in zip(rows, try Self.names(operation, precision, rows: rows)) {
      #expect(names.contains { $0.hasPrefix("normed_") } == (count <= most), "\(count): \(names)")
      #expect(names.contains("rms_norm") == (count > most), "\(count): \(names)")
    }
  }

  /// Qwen-7B's: queries, keys and values, gate and up, and the head, whose blocks would read a row
  /// 9,504 times.
  @Test func `a row that too many blocks would read is normed once`() {
    let most = [288, 1_184, 9_504].map {
      NormedRows.most(columns: 3_584, tiles: $0, rowBytes: 7_200)
    }
    #expect(most == [2, 1, 0])
    #expect(NormedRows.most(columns: 64, tiles: 10, rowBytes: 288) == 8)
  }

  @Test func `a norm that is read elsewhere has its own kernel`() throws {
    let cases = [
      OperationCase("a norm that is added too", width: 40, lengths: Self.lengths) { b, x in
        let normed = Self.norm(&b, x, "first")
        return b.add(b.linear(normed, Weight("w", [40, 40])), normed)
      },
      OperationCase("two launches", width: 40, lengths: Self.lengths) { b, x in
        let normed = Self.norm(&b, x, "first")
        let first = b.linear(normed, Weight("v", [40, 40]))
        let second = b.swiglu(gate: first, up: x)
        return b.add(b.linear(normed, Weight("w", [40, 40])), second)
      },
    ]
    for operation in cases {
      let names = try Self.names(operation, .w8, rows: [1])[0]
      #expect(names.contains("rms_norm"), "\(operation.name): \(names)")
      #expect(!names.contains { $0.hasPrefix("normed_") }, "\(operation.name): \(names)")
      let difference = try operation.largestDifference(
        of: EmulatedGPU.device(.bf16), weights: RandomWeights(type: .bfloat16))
      #expect(difference <= 4e-3, "\(operation.name): \(difference)")
    }
  }

  @Test func `a range without the norm has the product alone`() throws {
    let operation = Self.others[0]
    let names = try Self.names(
      operation, .w8, rows: [2], 2..<operation.program.operations.count)[0]
    #expect(names.first == "product_w8_few", "\(names)")
    #expect(try Self.names(operation, .w8, rows: [2], 0..<2)[0].last == "rms_norm")
  }
}
