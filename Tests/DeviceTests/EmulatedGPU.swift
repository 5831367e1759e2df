// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import TestSupport

extension EmulatedGPU {
  static func device(
    gpu: Int = 0, _ precision: CUDAPrecision = .auto, keys: CUDACachePrecision = .auto,
    steps: CUDASteps = .graphs, expansion: CUDAExpansion? = nil
  ) throws -> CUDADevice {
    try CUDADevice(
      .init(
        gpu: gpu, precision: precision, cachePrecision: keys, expansion: expansion,
        driverPath: driverPath, kernelPath: kernelPath, steps: steps))
  }
}
