// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels

/// How a GPU keeps the matrices of linears and experts. Inputs of products are bfloat16, sums have
/// 32 bits; norms, biases, routers, residuals and all else between are 32-bit
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

/// How a GPU keeps keys and values.
package enum CUDACachePrecision: String, Hashable, Sendable, CaseIterable {
  /// bf16.
  case auto
  /// Rounded to nearest even.
  case bf16
  /// 8-bit floats (e4m3), each key and value of a head with a scale, of a compressed key each 128
  /// columns; the rotary columns of compressed keys are bf16.
  case fp8

  /// What `auto` stands for.
  package var resolved: CUDACachePrecision { self == .auto ? .bf16 : self }
}

/// What a CUDA device is made of.
package struct CUDADeviceConfiguration: Hashable, Sendable {
  /// As the driver counts.
  package var gpu: Int
  package var precision: CUDAPrecision
  package var cachePrecision: CUDACachePrecision
  /// The driver's library; nil: as `SILICA_CUDA_LIBRARY` says, or the system's.
  package var driverPath: String?
  /// The kernels' file; nil: where `KernelFile` finds it.
  package var kernelPath: String?

  /// Whether a whole step of few rows is queued by one call; nil: unless `SILICA_CUDA_GRAPHS` is
  /// "off". It changes no bit.
  package var usesGraphs: Bool?

  package init(
    gpu: Int = 0, precision: CUDAPrecision = .auto, cachePrecision: CUDACachePrecision = .auto,
    driverPath: String? = nil, kernelPath: String? = nil, usesGraphs: Bool? = nil
  ) {
    self.gpu = gpu
    self.precision = precision
    self.cachePrecision = cachePrecision
    self.driverPath = driverPath
    self.kernelPath = kernelPath
    self.usesGraphs = usesGraphs
  }
}
