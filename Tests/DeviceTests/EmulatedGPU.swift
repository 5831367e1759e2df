// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import TestSupport

extension EmulatedGPU {
  static func device(gpu: Int = 0, _ precision: CUDAPrecision = .auto, usesGraphs: Bool = true)
    throws -> CUDADevice
  {
    try CUDADevice(
      .init(
        gpu: gpu, precision: precision, driverPath: driverPath, kernelPath: kernelPath,
        usesGraphs: usesGraphs))
  }
}
