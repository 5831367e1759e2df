// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Glibc
internal import Support
internal import Topology

/// How a CPU device keeps the matrices it multiplies with. Norms, biases and routers are 32-bit
/// floats always; so are activations, but where they are multiplied with `w8` or `w4`.
package enum CPUPrecision: String, Hashable, Sendable, CaseIterable {
  /// Each matrix as wide as it is stored: f32 where stored as f32, bf16 where stored in bf16, f16
  /// (loses 3 bits) or fp8. Decided matrix by matrix, so that a stage decides as the whole model.
  case auto
  case f32
  case bf16
  /// 8-bit integers, 128 neighbouring inner indices sharing a scale; activations as well.
  case w8
  /// 4-bit integers, 32 sharing a scale; activations as in `w8`.
  case w4
  /// Products of FP8 weights as DeepSeek computes them, with activations of FP8, each matrix that
  /// is stored otherwise as in `auto`. Exact to its definition, and slow: for comparing.
  case fp8
}

/// How a CPU device keeps keys and values.
package enum CPUCachePrecision: String, Hashable, Sendable, CaseIterable {
  /// bf16, but f32 where the precision is `f32` or `fp8`, which are for comparing.
  case auto
  case f32
  /// Rounded to nearest even.
  case bf16
}

/// Which vector instructions the kernels use.
package enum CPULevel: String, Hashable, Sendable, CaseIterable {
  case portable, avx2, avx2vnni, avx512, avx512vnni, avx512bf16

  /// The levels that this machine runs, the best last.
  package static var available: [CPULevel] { allCases.filter { $0.kernels != nil } }

  /// The level whose kernels a precision takes: those for comparing round no activations.
  package func level(for precision: CPUPrecision) -> CPULevel {
    self == .avx512bf16 && (precision == .f32 || precision == .fp8) ? .avx512vnni : self
  }

  var kernels: UnsafePointer<ck_kernels>? {
    switch self {
    case .portable: ck_kernels_of(CK_PORTABLE)
    case .avx2: ck_kernels_of(CK_AVX2)
    case .avx2vnni: ck_kernels_of(CK_AVX2_VNNI)
    case .avx512: ck_kernels_of(CK_AVX512)
    case .avx512vnni: ck_kernels_of(CK_AVX512_VNNI)
    case .avx512bf16: ck_kernels_of(CK_AVX512_BF16)
    }
  }

  /// What `SILICA_CPU_LEVEL` asks for, or else the best.
  static func chosen() throws(DeviceError) -> CPULevel {
    guard let value = getenv("SILICA_CPU_LEVEL") else { return available.last ?? .portable }
    let name = String(cString: value)
    let known = allCases.map(\.rawValue).joined(separator: ", ")
    guard let level = CPULevel(rawValue: name) else {
      throw DeviceError(
        .invalidArgument, "SILICA_CPU_LEVEL is '\(name)'; expected one of \(known)")
    }
    return level
  }
}

/// What a CPU device is made of.
package struct CPUDeviceConfiguration: Hashable, Sendable {
  package var precision: CPUPrecision
  package var cachePrecision: CPUCachePrecision
  /// Threads that compute, the device's own among them; nil: one for each usable physical core.
  package var threadCount: Int?
  /// Where worker `i` is pinned: `cpus[i % cpus.count]`; the device's own thread, worker 0, is
  /// pinned by who starts it. Empty: wherever the system likes.
  package var cpus: [Int]
  /// nil: what the environment's `SILICA_CPU_LEVEL` says, or else the machine's best.
  package var level: CPULevel?

  /// More threads than the largest machines have.
  package static let threadCountMax = 1024

  package init(
    precision: CPUPrecision = .auto, cachePrecision: CPUCachePrecision = .auto,
    threadCount: Int? = nil, cpus: [Int] = [], level: CPULevel? = nil
  ) {
    self.precision = precision
    self.cachePrecision = cachePrecision
    self.threadCount = threadCount
    self.cpus = cpus
    self.level = level
  }

  /// Bytes that the device keeps of one cached number.
  package var cacheElementBytes: Int { keepsFloatCaches ? 4 : 2 }

  var keepsFloatCaches: Bool {
    switch cachePrecision {
    case .auto: precision == .f32 || precision == .fp8
    case .f32: true
    case .bf16: false
    }
  }

  func resolvedThreadCount() throws(DeviceError) -> Int {
    let count = threadCount ?? Self.usableCores
    guard (1...Self.threadCountMax).contains(count) else {
      throw DeviceError(
        .invalidArgument, "threads is \(count); expected 1 to \(Self.threadCountMax)")
    }
    return count
  }

  private static var usableCores: Int {
    guard let topology = try? Topology.current() else {
      return max(1, PinnedThread.currentCPUs.count)
    }
    return max(1, topology.cores.count)
  }
}
