// SPDX-License-Identifier: Apache-2.0

import CAllocations
import CPUDevice
import Checkpoint
import Device
import Models
import Program
import Step
import TestSupport
import Testing

/// A step asks for no memory. The thread that calls the device is counted; the other workers run
/// C kernels only.
@Suite struct CPUAllocationTests {
  static let cases = ["qwen2", "v3"].flatMap { name in
    [CPUPrecision.f32, .bf16, .w8, .w4].map { (name, $0) }
  }

  @Test(arguments: cases)
  func `a step allocates nothing`(name: String, precision: CPUPrecision) throws {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let program = try Model.program(for: checkpoint)
    let run = try CPUModelRun(
      program, checkpoint, on: CPUDevice(.init(precision: precision, threadCount: 2)))
    guard case .logits(let output) = program.output else {
      Issue.record("\(name) gives no logits")
      return
    }
    // A prompt beside another; then a token of each, and of a third.
    let plans = [
      CPUModelRun.plan([(0, Array(golden.prompt.prefix(9)), 0), (1, [1, 2, 3], 0)]),
      CPUModelRun.plan([(0, [5], 9), (1, [6], 3), (2, [7], 0)]),
    ]
    var logits = [Float](repeating: 0, count: 12 * program.vocabularySize)
    for plan in plans {
      let count = plan.outputCount * program.vocabularySize
      try logits.withUnsafeMutableBufferPointer { logits in
        let destination = UnsafeMutableBufferPointer(rebasing: logits[..<count])
        let before = callocations_of_thread()
        try run.device.begin(plan)
        try run.device.run(program.operations.indices)
        try run.device.read(output, into: destination)
        #expect(callocations_of_thread() == before)
      }
    }
  }

  @Test func `what allocates is counted`() {
    let before = callocations_of_thread()
    let some = [Int](repeating: 1, count: Int.random(in: 1_000...2_000))
    #expect(callocations_of_thread() > before)
    #expect(some.first == 1)
  }
}
