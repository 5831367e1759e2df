// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Device
import Models
import Program
import TestSupport
import Testing

/// Products of many tokens by `wgmma` (emulated GPU 0) have the bits of those by `mma`: in small
/// steps, and on a GPU that has nothing else (1).
@Suite struct CUDAPrefillTests {
  /// 155 rows a step: a whole block of tokens and a part of one.
  private static let lengths = [60, 1, 50, 44]

  static let cases = [
    OperationCase("linear with bias", width: 300, lengths: lengths) { b, x in
      b.linear(x, Weight("w", [35, 300]), bias: Weight("bias", [35]))
    },
    // More spans than parts, a last part with fewer, more rows than a block has.
    OperationCase("long linear", width: 1_300, lengths: lengths) { b, x in
      b.linear(x, Weight("w", [150, 1_300]))
    },
    OperationCase("three of one input", width: 40, lengths: lengths) { b, x in
      let parts = [("q", 50), ("k", 19), ("v", 33)].map { name, width in
        b.linear(x, Weight(name, [width, 40]), bias: Weight("\(name).bias", [width]))
      }
      return b.join(b.join(parts[0], parts[1]), parts[2])
    },
    OperationCase("gated unit and residual", width: 70, lengths: lengths) { b, x in
      let unit = b.swiglu(
        gate: b.linear(x, Weight("gate", [90, 70])), up: b.linear(x, Weight("up", [90, 70])))
      return b.add(b.linear(unit, Weight("down", [70, 90])), x)
    },
    // 93 slots of an expert on average: some have more than a block, some less.
    OperationCase("experts", width: 40, lengths: lengths) { b, x in
      let routing = b.route(
        x, Weight("router", [5, 40]), scoring: .softmax, topK: 3, normalize: false, scale: 1)
      return b.experts(
        x, routing: routing,
        (0..<5).map {
          Experts.Expert(
            gate: Weight("\($0).gate", [75, 40]), up: Weight("\($0).up", [75, 40]),
            down: Weight("\($0).down", [40, 75]))
        })
    },
  ]

  /// As latent attention has them, small: its queries (few columns of the heads', more rows than a
  /// block has) and its values (more spans, rows of one block).
  static let heads = [
    heads("queries of heads", 3, columns: 40, of: 48, rowsPerHead: 40, latent: 200),
    heads("wide heads", 2, columns: 136, of: 136, rowsPerHead: 136, latent: 130),
    // As many spans as a block has stages, and one more; not whole eights of columns.
    heads("long heads", 2, columns: 412, of: 416, rowsPerHead: 412, latent: 36),
    values("values of heads", 3, latent: 520, rowsPerHead: 90, rows: 40..<90),
    values("values of many rows", 5, latent: 24, rowsPerHead: 160, rows: 0..<150),
    // Of what is not aligned the kernels for few do all.
    heads("odd heads", 3, columns: 33, of: 35, rowsPerHead: 33, latent: 70),
  ]

  private static func heads(
    _ name: String, _ count: Int, columns: Int, of stride: Int, rowsPerHead: Int, latent: Int
  ) -> OperationCase {
    OperationCase(name, width: 24, lengths: lengths) { b, x in
      let queries = b.linear(x, Weight("q", [count * stride, 24]))
      return b.headwiseLinear(
        Columns(queries, width: columns, count: count, stride: stride),
        Weight("w", [count * rowsPerHead, latent]), rowsPerHead: rowsPerHead, rows: 0..<columns,
        direction: .rowsToColumns)
    }
  }

  private static func values(
    _ name: String, _ count: Int, latent: Int, rowsPerHead: Int, rows: Range<Int>
  ) -> OperationCase {
    OperationCase(name, width: 24, lengths: lengths) { b, x in
      let attended = b.linear(x, Weight("a", [count * latent, 24]))
      return b.headwiseLinear(
        Columns(attended, width: latent, count: count, stride: latent),
        Weight("w", [count * rowsPerHead, latent]), rowsPerHead: rowsPerHead, rows: rows,
        direction: .columnsToRows)
    }
  }

  /// Few rows, of which a device has no more: the same kernels where a matrix keeps a GPU busy.
  @Test func `a batch has the bits of few`() throws {
    let operation = OperationCase("wide linear", width: 200, lengths: [40, 33]) { b, x in
      b.linear(x, Weight("w", [300, 200]))
    }
    let results = try [0, 1].map { gpu in
      try DeviceDriver(
        operation.program, on: [try EmulatedGPU.device(gpu: gpu, .fp8)], rowCountMax: 32
      ).results(of: operation.sequences, chunk: 16).flatMap { $0 }
    }
    let isSame = bitsEqual(results[0], results[1])
    #expect(isSame)
  }

  @Test(arguments: cases, [CUDAPrecision.bf16, .fp8, .w8, .w4, .w8a8])
  func `many tokens have the bits of few`(operation: OperationCase, precision: CUDAPrecision) throws
  {
    try expectTheBits(operation, precision)
  }

  /// Their matrices are bf16 whatever the others are.
  @Test(arguments: heads, [CUDAPrecision.bf16, .sparse])
  func `heads of many tokens have the bits of few`(
    operation: OperationCase, precision: CUDAPrecision
  ) throws {
    try expectTheBits(operation, precision)
    let weights = RandomWeights(type: .bfloat16)
    let difference = try operation.largestDifference(
      of: try EmulatedGPU.device(.bf16), weights: weights)
    #expect(difference < 4e-3)
  }

  /// Three prompts, 96 rows, beside a token of each of three other sequences.
  @Test(arguments: [("v2-lite", CUDAPrecision.bf16), ("v3-real-heads", .fp8)])
  func `prompts beside decoded tokens have the bits of each alone`(
    name: String, precision: CUDAPrecision
  ) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let prompts = [11, 5, 20, 30, 37, 29].map { Array(golden.prompt.suffix($0)) }
    var alone = try CPUModelRun(program, checkpoint, on: try EmulatedGPU.device(precision))
    let each = try prompts.map { try alone.logits(of: $0, chunk: 20) }
    var together = try CPUModelRun(program, checkpoint, on: try EmulatedGPU.device(precision))
    for (index, prompt) in prompts.prefix(3).enumerated() {
      _ = try together.logits(of: prompt.dropLast(), chunk: 20, sequence: index)
    }
    let logits = try together.logits(
      CPUModelRun.plan(
        prompts.enumerated().map { index, prompt in
          index < 3 ? (index, prompt.suffix(1), prompt.count - 1) : (index, prompt, 0)
        }))
    let width = program.vocabularySize
    let expected = each.enumerated().flatMap { $0 < 3 ? Array($1.suffix(width)) : $1 }
    #expect(bitsEqual(logits, expected))
  }

  private func expectTheBits(_ operation: OperationCase, _ precision: CUDAPrecision) throws {
    func results(gpu: Int, chunk: Int) throws -> [Float] {
      try DeviceDriver(
        operation.program, RandomWeights(), on: [try EmulatedGPU.device(gpu: gpu, precision)]
      ).results(of: operation.sequences, chunk: chunk).flatMap { $0 }
    }
    let many = try results(gpu: 0, chunk: .max)
    let isWhole = many.allSatisfy { $0.isFinite }
    #expect(isWhole)
    for chunk in [9, 35] {
      let few = try results(gpu: 0, chunk: chunk)
      let isSame = bitsEqual(many, few)
      #expect(isSame, "chunks of \(chunk)")
    }
    let other = try results(gpu: 1, chunk: .max)
    let isSameElsewhere = bitsEqual(many, other)
    #expect(isSameElsewhere)
  }
}
