// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Device
import TestSupport
import Testing

/// Every operation over odd shapes, against the reference, on every level of this machine.
@Suite struct CPUOperationTests {
  @Test(arguments: OperationCase.all, CPULevel.available(for: .f32))
  func `each operation equals the reference`(operation: OperationCase, level: CPULevel) throws {
    let device = try CPUDevice(.init(precision: .f32, threadCount: 3, level: level))
    #expect(try operation.largestDifference(of: device) < 2e-5)
  }

  @Test(arguments: OperationCase.all.filter(\.hasAttention), [2, 8])
  func `slices of the keys merge to the whole`(operation: OperationCase, count: Int) throws {
    let whole = try DeviceDriver(operation.program, on: [ReferenceDevice()])
      .results(of: operation.sequences)
    let devices = try (0..<count).map { _ in
      try CPUDevice(.init(precision: .f32, threadCount: 2))
    }
    let sliced = try DeviceDriver(operation.program.withLogSumExp(), on: devices)
      .results(of: operation.sequences, chunk: 5)
    #expect(OperationCase.largestDifference(sliced, whole) < 2e-5)
  }

  @Test func `a bad number of threads is an error that names it`() {
    let error = #expect(throws: DeviceError.self) { try CPUDevice(.init(threadCount: 0)) }
    #expect(error?.message == "threads is 0; expected 1 to 1024")
  }
}
