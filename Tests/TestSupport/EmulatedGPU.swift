// SPDX-License-Identifier: Apache-2.0

import Foundation

/// GPUs that are not there: the kernels compiled for this machine's processor, behind a library
/// that has the functions of NVIDIA's driver (`CShims/CUDAEmulator`).
package enum EmulatedGPU {
  /// Built with the tests; it lies beside their executable.
  package static let driverPath = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appending(path: "libCUDAEmulator.so").path
  package static let kernelPath = Repository.path("Tests/Fixtures/cuda/emulated-kernels")
}
