// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// Products of FP8 weights and FP8 activations.
@Suite struct CPUFloat8Tests {
  private func run(
    _ program: Program, _ source: some WeightSource, threads: Int = 2, _ level: CPULevel? = nil
  ) throws -> CPUModelRun {
    let device = try CPUDevice(.init(precision: .fp8, threadCount: threads, level: level))
    let run = try CPUModelRun(program, source, on: device)
    #expect(device.summary.contains("fp8"))
    return run
  }

  @Test(arguments: ["plain", "ue8m0"], CPULevel.available(for: .fp8))
  func `products are those of torch, bit for bit`(name: String, level: CPULevel) throws {
    let checkpoint = try Checkpoint(
      directory: Repository.path("Tests/DeviceTests/Goldens/float8/\(name)"))
    var builder = ProgramBuilder()
    let input = builder.embed(Weight("rows", [19, 300]))
    var result = input
    builder.layer { result = $0.linear(input, Weight("matrix.weight", [150, 300])) }
    let outputs = builder.selectOutputs(result)
    let program = builder.finish(
      name: "linear", vocabularySize: 150, contextLength: 128, logits: outputs)
    let expected = try checkpoint.tensor(Weight("expected", [19, 150])).dequantized()
    var run = try run(program, checkpoint, level)
    let actual = try run.logits(CPUModelRun.plan([(0, Array(0..<19), 0)]))
    let areEqual = bitsEqual(actual, expected)
    #expect(areEqual, "\(largestDifference(actual, expected))")
  }

  /// A difference in the last bit may move an activation to the next code: nine tokens of ten are
  /// compared closely, and the rest less so.
  @Test func `logits are those of transformers with such products`() throws {
    let golden = try SyntheticCheckpoint("v3-fp8")
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let expected = try #require(golden.float8Logits)
    var run = try run(program, checkpoint)
    let logits = try run.logits(of: golden.prompt, chunk: 64)
    let width = program.vocabularySize
    let differences = golden.prompt.indices.map { row in
      let part = row * width..<(row + 1) * width
      return largestDifference(Array(logits[part]), Array(expected[part]))
    }
    let sorted = differences.sorted()
    #expect(sorted[sorted.count * 9 / 10] < 2e-5, "\(differences)")
    #expect(sorted[sorted.count - 1] < 0.05, "\(differences)")
  }

  @Test func `batch, chunks, threads and levels change no bit`() throws {
    let golden = try SyntheticCheckpoint("v3-fp8")
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    for level in CPULevel.available(for: .fp8) {
      var first = try run(program, checkpoint, threads: 1, level)
      let whole = try first.logits(of: golden.prompt, chunk: 64)
      for (threads, chunk) in [(1, 1), (2, 5), (3, 16)] {
        var other = try run(program, checkpoint, threads: threads, level)
        let areEqual = bitsEqual(try other.logits(of: golden.prompt, chunk: chunk), whole)
        #expect(areEqual, "\(level), \(threads) threads, chunks of \(chunk)")
      }
    }
  }

  @Test func `a checkpoint that is not stored so is refused`() throws {
    for (name, reason) in [
      ("v3", "precision is fp8, but the checkpoint has its matrices in f32"),
      ("llama-fp8", "has a scale for each 192 columns; precision fp8 takes 128"),
    ] {
      let golden = try SyntheticCheckpoint(name)
      let checkpoint = try Checkpoint(directory: golden.directory)
      let program = try Model.program(for: checkpoint)
      let error = #expect(throws: DeviceError.self) {
        _ = try CPUModelRun(
          program, checkpoint, on: CPUDevice(.init(precision: .fp8, threadCount: 1)))
      }
      #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }
  }
}
