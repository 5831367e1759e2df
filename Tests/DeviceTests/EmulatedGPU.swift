// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Foundation
import TestSupport

/// GPUs that are not there: the kernels compiled for this machine's processor, behind a library
/// that has the functions of NVIDIA's driver (`CShims/CUDAEmulator`).
enum EmulatedGPU {
  /// Built with the tests; it lies beside their executable.
  static let driverPath = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appending(path: "libCUDAEmulator.so").path
  static let kernelPath = Repository.path("Tests/Fixtures/cuda/emulated-kernels")

  static func device(
    gpu: Int = 0, _ precision: CUDAPrecision = .auto, keys: CUDACachePrecision = .auto,
    usesGraphs: Bool = true
  ) throws -> CUDADevice {
    try CUDADevice(
      .init(
        gpu: gpu, precision: precision, cachePrecision: keys, driverPath: driverPath,
        kernelPath: kernelPath, usesGraphs: usesGraphs))
  }
}
