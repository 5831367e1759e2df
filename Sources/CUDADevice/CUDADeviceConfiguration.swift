// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels

/// How a GPU keeps the matrices of linears and experts. Inputs of products, keys and values are
/// bfloat16, sums have 32 bits; norms, biases, routers, residuals and all else between are 32-bit
/// floats. The small matrices of single heads are bfloat16 always.
package enum CUDAPrecision: String, Hashable, Sendable, CaseIterable {
  /// FP8 where stored as FP8, `w8` or `w4` where packed so, codes that were calibrated as they are;
  /// else bfloat16.
  case auto
  case bf16
  /// 8-bit floats (e4m3), 128 × 128 elements sharing a scale.
  case fp8
  /// 8-bit integers, 128 neighbouring columns of a row sharing a scale.
  case w8
  /// 4-bit integers, 32 sharing a scale.
  case w4
}

/// What a CUDA device is made of.
package struct CUDADeviceConfiguration: Sendable {
  /// As the driver counts.
  package var gpu: Int
  package var precision: CUDAPrecision
  /// The driver's library; nil: as `SILICA_CUDA_LIBRARY` says, or the system's.
  package var driverPath: String?
  /// The kernels' file; nil: where `KernelFile` finds it.
  package var kernelPath: String?

  /// Whether a whole step of few rows is queued by one call; nil: unless `SILICA_CUDA_GRAPHS` is
  /// "off". It changes no bit.
  package var usesGraphs: Bool?

  /// Where weights go that the GPU has no memory for; nil: nowhere, it is an error.
  package var hostMemory: HostMemoryBudget?

  /// With whom weights are shared, and what tells the checkpoint from others; nil: with nobody.
  package var sharing: (share: WeightShare, model: String)?

  package init(
    gpu: Int = 0, precision: CUDAPrecision = .auto, driverPath: String? = nil,
    kernelPath: String? = nil, usesGraphs: Bool? = nil, hostMemory: HostMemoryBudget? = nil,
    sharing: (share: WeightShare, model: String)? = nil
  ) {
    self.gpu = gpu
    self.precision = precision
    self.driverPath = driverPath
    self.kernelPath = kernelPath
    self.usesGraphs = usesGraphs
    self.hostMemory = hostMemory
    self.sharing = sharing
  }
}
