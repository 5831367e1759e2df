// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Device
import Foundation
import Models
import Support
import TestSupport
import Testing

/// What cannot be one launch. That what can changes no bit is in `CUDADeterminismTests`.
@Suite struct OneLaunchTests {
  private func load(
    _ name: String, _ precision: CUDAPrecision = .auto, kernelPath: String = EmulatedGPU.kernelPath
  ) throws -> CPUModelRun {
    let golden = try SyntheticCheckpoint(name)
    let checkpoint = try Checkpoint(directory: golden.directory)
    let device = try CUDADevice(
      .init(
        precision: precision, driverPath: EmulatedGPU.driverPath, kernelPath: kernelPath,
        steps: .oneLaunch))
    return try CPUModelRun(Model.program(for: checkpoint), checkpoint, on: device)
  }

  @Test(arguments: [("v3-int4", CUDAPrecision.auto, "int4_32"), ("v3-fp8", .fp8a8, "fp8a8")])
  func `a kernel that is no task is named`(
    name: String, precision: CUDAPrecision, format: String
  ) throws {
    let error = #expect(throws: DeviceError.self) { try load(name, precision) }
    #expect(error?.code == .failedPrecondition)
    #expect(error?.message.contains("kernel product_\(format)_") == true, "\(error?.message ?? "")")
    #expect(error?.message.contains("expected 'graphs'") == true)
  }

  @Test func `a missing file is named, with what makes it`() throws {
    let folder = try TemporaryDirectory()
    let path = folder.url.path + "/silica-kernels.fatbin"
    try FileManager.default.copyItem(atPath: EmulatedGPU.kernelPath, toPath: path)
    let error = #expect(throws: DeviceError.self) { try load("qwen2", kernelPath: path) }
    #expect(error?.message.contains("\(folder.url.path)/silica-steps.fatbin") == true)
    #expect(error?.message.contains("make kernels") == true)
  }
}
