// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels

/// How a GPU keeps the matrices of linears and experts. Inputs of products (but in `w8a8` and
/// `fp8a8`) are bfloat16, sums have 32 bits; norms, biases, routers, residuals and all else between
/// are 32-bit floats. The small matrices of single heads are bfloat16 always.
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
  /// `w8`, and inputs of products as 8-bit integers too, 128 neighbouring columns of a row sharing
  /// a scale: what a CPU's `w8` does.
  case w8a8
  /// bfloat16 of two of four neighbouring columns, the others zero: 9 bits an element.
  case sparse
  /// `fp8`, and inputs of products as e4m3 too, 128 neighbouring columns of a row sharing a scale:
  /// what DeepSeek-V3 does, and a CPU's `fp8`. The head is `fp8`. Of compute capability 9.0 alone.
  case fp8a8

  /// Whether products of linears and experts read codes.
  var takesCodes: Bool { self == .w8a8 || self == .fp8a8 }

  /// How the head is kept, whose errors are those of the logits.
  var ofHead: CUDAPrecision { self == .fp8a8 ? .fp8 : self }

  /// Compute capabilities whose products it needs; nil: any.
  var capability: Int? { self == .fp8a8 ? 90 : nil }

  /// Those that a GPU has.
  static func all(capability: Int) -> [CUDAPrecision] {
    allCases.filter { $0.capability == nil || $0.capability == capability }
  }
}

/// How a whole step of few rows is queued.
package enum CUDASteps: String, Hashable, Sendable, CaseIterable {
  /// Kernel by kernel.
  case kernels
  /// As a graph of up to 64 rows (`StepGraphs`).
  case graphs
  /// Of up to 4 rows as one kernel that does what the others would (`OneLaunch`), else as a graph.
  case oneLaunch = "one-launch"
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
package struct CUDADeviceConfiguration: Sendable {
  /// As the driver counts.
  package var gpu: Int
  package var precision: CUDAPrecision
  package var cachePrecision: CUDACachePrecision
  /// Latent attention of prompts in its expanded form; nil: absorbed, as all else.
  package var expansion: CUDAExpansion?
  /// The driver's library; nil: as `SILICA_CUDA_LIBRARY` says, or the system's.
  package var driverPath: String?
  /// The kernels' file; nil: where `KernelFile` finds it.
  package var kernelPath: String?

  /// How a whole step of few rows is queued; nil: as `SILICA_CUDA_STEPS` says, or as graphs. It
  /// changes no bit.
  package var steps: CUDASteps?

  /// Whether values that products read as codes are kept as floats too, so that they can be read
  /// and written from outside: for who looks at each operation by itself.
  package var keepsFloats: Bool

  /// Where weights go that the GPU has no memory for; nil: nowhere, it is an error.
  package var hostMemory: HostMemoryBudget?

  /// With whom weights are shared, and what tells the checkpoint from others; nil: with nobody.
  package var sharing: (share: WeightShare, model: String)?

  package init(
    gpu: Int = 0, precision: CUDAPrecision = .auto, cachePrecision: CUDACachePrecision = .auto,
    expansion: CUDAExpansion? = nil, driverPath: String? = nil, kernelPath: String? = nil,
    steps: CUDASteps? = nil, keepsFloats: Bool = false, hostMemory: HostMemoryBudget? = nil,
    sharing: (share: WeightShare, model: String)? = nil
  ) {
    self.gpu = gpu
    self.precision = precision
    self.cachePrecision = cachePrecision
    self.expansion = expansion
    self.driverPath = driverPath
    self.kernelPath = kernelPath
    self.steps = steps
    self.keepsFloats = keepsFloats
    self.hostMemory = hostMemory
    self.sharing = sharing
  }
}
