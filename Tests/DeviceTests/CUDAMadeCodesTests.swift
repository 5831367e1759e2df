// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// Codes that products read, made by who writes a value where it has whole spans of a row, else of
/// floats by who reads them: those of the kernel that does nothing else.
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

  private static func names(
    _ operation: OperationCase, _ precision: CUDAPrecision = .w8a8, rows: [Int]
  ) throws -> [[String]] {
    let device = try EmulatedGPU.device(precision)
    let run = try CPUModelRun(operation.program, RandomWeights(type: .bfloat16), on: device)
    return try rows.map {
      try device.kernelNames(run.program.operations.indices, tokens: $0, outputs: $0)
    }
  }

  /// Queries, keys and values read floats; what is behind attention does where nothing is merged.
  @Test func `what makes codes in passing needs no kernel behind it`() throws {
    for (operations, count) in [(Self.merged, 1), (Self.apart, 2)] {
      for operation in operations {
        let names = try Self.names(operation, rows: [1, 32, 64, 65])
        let makers = ["coding_w8a8_few", "coding_w8a8_32", nil, "arrange_floats"]
        for (names, maker) in zip(names, makers) {
          let isCut = maker != "arrange_floats"
          #expect(
            names.contains("merge_codes") == (isCut && count == 1), "\(operation.name): \(names)")
          guard let maker else { continue }
          #expect(
            names.filter { $0 == maker }.count == (isCut ? count : 2),
            "\(operation.name): \(names)")
        }
      }
    }
  }

  // MARK: Readers

  private static let lengths = [60, 1, 50, 44]

  /// Widths below, at and above spans, in fours and not, of more spans than parts.
  private static let readers =
    [1, 30, 128, 643, 1_284].map { width in
      OperationCase("unit of \(width)", width: 40, lengths: lengths) { b, x in
        let normed = b.rmsNorm(x, Weight("norm", [40]), epsilon: 1e-6)
        let unit = b.swiglu(
          gate: b.linear(normed, Weight("gate", [width, 40])),
          up: b.linear(normed, Weight("up", [width, 40])))
        return b.add(b.linear(unit, Weight("down", [40, width])), x)
      }
    } + [
      OperationCase("experts", width: 140, lengths: lengths) { b, x in
        let normed = b.rmsNorm(x, Weight("norm", [140]), epsilon: 1e-6)
        let routing = b.route(
          normed, Weight("router", [5, 140]), scoring: .softmax, topK: 3, normalize: false,
          scale: 1)
        return b.experts(
          normed, routing: routing,
          (0..<5).map {
            Experts.Expert(
              gate: Weight("\($0).gate", [275, 140]), up: Weight("\($0).up", [275, 140]),
              down: Weight("\($0).down", [140, 275]))
          })
      },
      OperationCase("three linears", width: 300, lengths: lengths) { b, x in
        let parts = [("q", 50), ("k", 19), ("v", 33)].map { name, width in
          b.linear(x, Weight(name, [width, 300]))
        }
        return b.join(b.join(parts[0], parts[1]), parts[2])
      },
    ]

  /// Four sequences: steps of up to 4, 8, 12, 16, 20, 32, 36 and 64 rows, and of 155.
  @Test(arguments: readers, precisions)
  func `who reads floats makes the codes of the kernel for it`(
    operation: OperationCase, precision: CUDAPrecision
  ) throws {
    func results(chunk: Int, gpu: Int = 0) throws -> [Float] {
      try DeviceDriver(
        operation.program, RandomWeights(), on: [try EmulatedGPU.device(gpu: gpu, precision)]
      ).results(of: operation.sequences, chunk: chunk).flatMap { $0 }
    }
    // Of 5 to 8 rows, and of 33 to 64, that kernel makes them.
    let expected = try results(chunk: 2)
    let isWhole = expected.allSatisfy { $0.isFinite }
    #expect(isWhole)
    for chunk in [1, 3, 4, 5, 8, 9, 20, .max] {
      let isSame = bitsEqual(try results(chunk: chunk), expected)
      #expect(isSame, "chunks of \(chunk)")
    }
    if precision == .w8a8 {
      let isSame = bitsEqual(try results(chunk: .max, gpu: 1), expected)
      #expect(isSame, "without wgmma")
    }
  }

  private static let makers = [
    "quantize_rows", "coding_w8a8_few", "coding_w8a8_16", "coding_w8a8_32", "coding_fp8a8_few",
    "arrange_floats",
  ]

  @Test(arguments: readers) func `each number of rows has its reader`(
    operation: OperationCase
  ) throws {
    let rows = [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 150]
    let isExperts = operation.name == "experts"
    // Of as many blocks of rows as the emulated GPU has multiprocessors.
    let manyMin = operation.name == "three linears" ? 33 : 65
    for precision in Self.precisions {
      let few = precision == .w8a8 ? 4 : 2
      for (count, names) in zip(rows, try Self.names(operation, precision, rows: rows)) {
        let found = names.filter(Self.makers.contains)
        // An expert has as many slots as rows at most, on average three fifths.
        if isExperts && count > few && count < 150 { continue }
        let expected =
          count >= manyMin
          ? "arrange_floats"
          : count <= few
            ? "coding_\(precision)_few"
            : precision == .w8a8 && (9...32).contains(count)
              ? "coding_w8a8_\(count <= 16 ? 16 : 32)" : "quantize_rows"
        #expect(found == [expected], "\(count) rows: \(names)")
      }
    }
  }

  /// Qwen-7B's down, of 18,944 columns: the blocks of one tile each read a row 224 times, those of
  /// eight 28 times. And the experts' of V3.
  @Test func `rows that too many blocks would read are made codes of once`() {
    let most = [(224, 16), (28, 64)].map { blocks, rows in
      (1...rows).last {
        MadeCodes.areWorth(rows: $0, columns: 18_944, blocks: blocks, tiles: 224, matrices: 1)
      }
    }
    #expect(most == [4, 34])
    let experts = (1...8).last {
      MadeCodes.areWorth(rows: $0, columns: 2_048, blocks: 448, tiles: 448, matrices: 8)
    }
    #expect(experts == 3)
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
    let makers = names.filter(Self.makers.contains)
    #expect(makers.isEmpty, "\(names)")
  }
}
