// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// Every operation over odd shapes on an emulated GPU, against the reference.
@Suite struct CUDAOperationTests {
  /// Inputs of products have 16 significant bits, keys and values 8.
  private static func tolerance(_ operation: OperationCase) -> Float {
    operation.name.contains("attention") ? 1e-2 : 3e-5
  }

  /// Weights that bfloat16 holds, so that the reference has the same.
  @Test(arguments: OperationCase.all)
  func `each operation equals the reference`(operation: OperationCase) throws {
    let weights = RandomWeights(type: .bfloat16)
    for chunk in [Int.max, 7] {
      let difference = try operation.largestDifference(
        of: try EmulatedGPU.device(), weights: weights, chunk: chunk)
      #expect(difference <= Self.tolerance(operation), "chunks of \(chunk): \(difference)")
    }
  }
}
