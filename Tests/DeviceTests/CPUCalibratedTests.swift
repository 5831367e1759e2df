// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// Products of 8-bit activations and the codes of calibrated checkpoints, with their own groups,
/// scales and zeros.
@Suite struct CPUCalibratedTests {
  static let weights = [
    CalibratedWeights(bits: 4, group: 32, layout: .columnsFirst),
    CalibratedWeights(bits: 4, group: 64, layout: .alongRows, scaleType: .bfloat16),
    CalibratedWeights(bits: 4, group: 128, hasZeros: false),
    CalibratedWeights(bits: 4, group: 256, layout: .alongRows),
    CalibratedWeights(bits: 4, group: 640),
    CalibratedWeights(bits: 4, group: nil, scaleType: .float32),
    CalibratedWeights(bits: 8, group: 32, scaleType: .bfloat16),
    CalibratedWeights(bits: 8, group: 64, layout: .columnsFirst),
    CalibratedWeights(bits: 8, group: 128, layout: .alongRows, scaleType: .float32),
    CalibratedWeights(bits: 8, group: nil, hasZeros: false),
  ]
  static let names = ["qwen2-gptq", "llama-gptq8", "qwen2-awq", "v3-int4", "v2-w8a8"]

  @Test(arguments: CPULevel.available, 0..<weights.count)
  func `products equal their definition`(level: CPULevel, index: Int) throws {
    let weights = Self.weights[index]
    for shape in [(30, 17), (256, 200), (643, 33), (2000, 40)] as [(inner: Int, columns: Int)] {
      let (program, table, matrix) = CPUCodesTests.linear(
        inner: shape.inner, columns: shape.columns)
      let rows = try CPUCodesTests.rows(of: table, weights).map(CPUCodes.activations.rounded)
      let columns = try CPUCodesTests.rows(of: matrix, weights)
      let device = try CPUDevice(.init(precision: .auto, threadCount: 2, level: level))
      var run = try CPUModelRun(program, weights, on: device)
      #expect(device.summary.contains("int\(weights.bits)"))
      for count in CPUCodesTests.rowCounts {
        let tokens = (0..<count).map { Int32($0 * 7 % shape.columns) }
        let expected = tokens.flatMap { token in
          columns.map { CPUCodesTests.product(rows[Int(token)], $0) }
        }
        let actual = try run.logits(CPUModelRun.plan([(0, tokens, 0)]))
        let scale = expected.reduce(Float.leastNormalMagnitude) { max($0, abs($1)) }
        let difference = largestDifference(actual, expected) / scale
        #expect(difference < 1e-5, "\(weights), \(shape), \(count) rows: \(difference)")
      }
    }
  }

  /// Rows with a single one make the matrix itself: what other precisions are made of.
  @Test(arguments: CPULevel.available, 0..<weights.count)
  func `in f32 the kernels have the very values`(level: CPULevel, index: Int) throws {
    let weights = Self.weights[index]
    let (program, _, matrix) = CPUCodesTests.linear(inner: 150, columns: 176, table: "identity")
    let device = try CPUDevice(.init(precision: .f32, threadCount: 2, level: level))
    var run = try CPUModelRun(program, weights, on: device)
    let rows = try CPUCodesTests.rows(of: matrix, weights)
    for first in stride(from: 0, to: 150, by: 50) {
      let tokens = (first..<first + 50).map { Int32($0) }
      let expected = tokens.flatMap { token in rows.map { $0[Int(token)] } }
      // Not bit for bit: a zero may have another sign.
      #expect(try run.logits(CPUModelRun.plan([(0, tokens, 0)])) == expected, "\(weights)")
    }
  }

  @Test(arguments: CPULevel.available, names)
  func `batch, chunks and threads change no bit`(level: CPULevel, name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    func run(threads: Int) throws -> CPUModelRun {
      let device = try CPUDevice(.init(threadCount: threads, level: level))
      let run = try CPUModelRun(program, checkpoint, on: device)
      #expect(device.summary.contains("int"))
      return run
    }
    var first = try run(threads: 1)
    let whole = try first.logits(of: golden.prompt, chunk: 64)
    for (threads, chunk) in [(1, 1), (2, 5), (3, 16)] {
      var other = try run(threads: threads)
      let areEqual = bitsEqual(try other.logits(of: golden.prompt, chunk: chunk), whole)
      #expect(areEqual, "\(threads) threads, chunks of \(chunk)")
    }
    var together = try run(threads: 2)
    let plan = CPUModelRun.plan(
      (0..<16).map { ($0, Array(golden.prompt.prefix(2 + $0 % 3)), 0) })
    let logits = try together.logits(plan)
    let width = program.vocabularySize
    for sequence in plan.sequences {
      let part = logits[sequence.rows.lowerBound * width..<sequence.rows.upperBound * width]
      let areEqual = bitsEqual(Array(part), Array(whole.prefix(part.count)))
      #expect(areEqual, "a batch of 16")
    }
  }

  @Test(arguments: names)
  func `it runs in every precision, and says what it runs in`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    var shares: [CPUPrecision: Float] = [:]
    for precision in CPUPrecision.allCases where precision != .fp8 {
      let device = try CPUDevice(.init(precision: precision, threadCount: 2))
      var run = try CPUModelRun(program, checkpoint, on: device)
      let logits = try run.logits(of: golden.prompt, chunk: 64)
      let error = CPUCodesTests.rootMeanSquare(zip(logits, golden.logits).map { $0 - $1 })
      let share = error / CPUCodesTests.rootMeanSquare(golden.logits)
      #expect(share < (precision == .w4 ? 0.5 : 0.06), "\(precision): \(share)")
      shares[precision] = share
      let asStored = name == "llama-gptq8" || name == "v2-w8a8" ? "int8" : "int4"
      #expect(device.summary.contains(precision == .auto ? asStored : precision.rawValue))
      let traffic = try WeightTraffic(program, from: checkpoint, precision: precision)
      #expect(traffic.bytesPerStep(rows: 1) > 0)
    }
    // What 8-bit activations cost, without what 8-bit weights cost beside it.
    let (asStored, w8) = (shares[.auto] ?? 1, shares[.w8] ?? 0)
    #expect(asStored < 1.1 * w8, "\(asStored), \(w8)")
  }

  @Test func `groups that products do not take are refused, and can be converted`() throws {
    let (program, _, _) = CPUCodesTests.linear(inner: 96, columns: 32)
    let weights = CalibratedWeights(bits: 4, group: 48)
    let error = #expect(throws: DeviceError.self) {
      _ = try CPUModelRun(program, weights, on: CPUDevice(.init(threadCount: 1)))
    }
    #expect(
      error?.message
        == "tensor matrix is stored in groups of 48 columns, expected 32, 64, a multiple of 128 "
        + "or whole rows; precision w8, w4, bf16 or f32 converts it")
    let device = try CPUDevice(.init(precision: .bf16, threadCount: 1))
    _ = try CPUModelRun(program, weights, on: device)
  }

  @Test func `groups of columns that are no neighbours are refused, and can be converted`() throws {
    let checkpoint = try Checkpoint(
      directory: Repository.path("Tests/CheckpointTests/Goldens/calibrated/gptq-order"))
    var builder = ProgramBuilder()
    // The table is the weight as others dequantised it.
    let (table, matrix) = (
      Weight("shuffled.expected", [8, 96]), Weight("shuffled.weight", [8, 96])
    )
    let input = builder.embed(table)
    var result = input
    builder.layer { result = $0.linear(input, matrix) }
    let outputs = builder.selectOutputs(result)
    let program = builder.finish(
      name: "linear", vocabularySize: 8, contextLength: 128, logits: outputs)
    let error = #expect(throws: DeviceError.self) {
      _ = try CPUModelRun(program, checkpoint, on: CPUDevice(.init(threadCount: 1)))
    }
    #expect(error?.message.contains("tensor shuffled.weight is stored in groups of col") == true)
    let plan = CPUModelRun.plan([(0, Array(0..<8), 0)])
    let device = try CPUDevice(.init(precision: .f32, threadCount: 1))
    var run = try CPUModelRun(program, checkpoint, on: device)
    let rows = try CPUCodesTests.rows(of: table, checkpoint)
    let expected = rows.flatMap { row in rows.map { CPUCodesTests.product(row, $0) } }
    #expect(largestDifference(try run.logits(plan), expected) < 1e-5)
  }
}
