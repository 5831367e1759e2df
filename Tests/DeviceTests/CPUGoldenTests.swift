// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Conformance
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// The CPU device against transformers and against the reference, on every stored model.
@Suite struct CPUGoldenTests {
  static let cases = SyntheticCheckpoint.names.flatMap { name in
    CPULevel.available(for: .f32).map { (name, $0) }
  }

  @Test(arguments: cases)
  func `logits in f32 equal those of transformers`(name: String, level: CPULevel) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let device = try CPUDevice(.init(precision: .f32, threadCount: 2, level: level))
    var run = try CPUModelRun(try Model.program(for: checkpoint), checkpoint, on: device)
    let difference = largestDifference(
      try run.logits(of: golden.prompt, chunk: 64), golden.logits)
    #expect(difference <= 2e-4, "largest difference \(difference)")
  }

  /// Every value that any operation writes, right after it did.
  @Test(arguments: SyntheticCheckpoint.names)
  func `each operation equals the reference`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    var reference = try CPUModelRun(program, checkpoint, on: ReferenceDevice())
    var runs = try CPULevel.available(for: .f32).map { level in
      try CPUModelRun(
        program, checkpoint,
        on: try CPUDevice(.init(precision: .f32, threadCount: 3, level: level)))
    }
    // Two chunks of one sequence and the whole of another share a step.
    let plans = [
      CPUModelRun.plan([(0, Array(golden.prompt.prefix(19)), 0)]),
      CPUModelRun.plan([(0, Array(golden.prompt[19...]), 19), (1, golden.prompt, 0)]),
    ]
    for plan in plans {
      try reference.begin(plan)
      for index in runs.indices { try runs[index].begin(plan) }
      for (index, operation) in program.operations.enumerated() {
        try reference.device.run(index..<index + 1)
        for run in runs { try run.device.run(index..<index + 1) }
        for value in operation.writes where program[value].kind == .floats {
          let expected = try reference.values(value)
          let scale = expected.reduce(1) { max($0, abs($1)) }
          for run in runs {
            let difference = largestDifference(try run.values(value), expected) / scale
            #expect(difference <= 3e-5, "\(run.device.summary): \(operation)")
          }
        }
      }
    }
  }

  @Test(arguments: ["qwen2", "llama3", "v2-groups", "v3", "v3-fp8"])
  func `bf16 equals the reference on weights rounded to nearest even`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let rounded = CPURoundedWeights(program, checkpoint)
    var reference = try CPUModelRun(program, rounded, on: ReferenceDevice())
    let expected = try reference.logits(of: golden.prompt, chunk: 64)
    // Those that round activations as well are compared operation by operation (CPUPairsTests).
    for level in CPULevel.available(for: .f32) {
      let device = try CPUDevice(
        .init(precision: .bf16, cachePrecision: .f32, threadCount: 2, level: level))
      var run = try CPUModelRun(program, checkpoint, on: device)
      let difference = largestDifference(
        try run.logits(of: golden.prompt, chunk: 64), expected)
      #expect(difference <= 2e-4, "\(device.summary): \(difference)")
      #expect(device.summary.contains("bf16"))
    }
  }

  /// Each operation gets the reference's inputs, so that no router decides otherwise for an error
  /// before it: rounding keys and values cost attention 0.48 % at most (root mean square).
  @Test(arguments: SyntheticCheckpoint.names)
  func `keys and values in bf16 cost attention little, and nothing else`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let device = try CPUDevice(.init(precision: .f32, cachePrecision: .bf16, threadCount: 2))
    let comparison = try DeviceComparison(
      try Model.program(for: checkpoint), checkpoint, device: device,
      rowCount: golden.prompt.count)
    for result in try comparison.results(of: golden.prompt, chunk: 19) {
      let isAttention = ["attention", "latentAttention"].contains(result.operation)
      #expect(result.error <= (isAttention ? 6e-3 : 1e-4), "\(result.operation)")
      #expect(!isAttention || result.error > 1e-4)
    }
  }
}
