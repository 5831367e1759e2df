// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import TestSupport
import Testing

/// Every operation over odd shapes on an emulated GPU, against the reference.
@Suite struct CUDAOperationTests {
  /// Keys and values have 8 significant bits, and so has what is between the products of experts.
  private static func tolerance(_ operation: OperationCase) -> Float {
    if operation.name.contains("attention") { return 1e-2 }
    // What a product reads of another's output is rounded to bfloat16.
    let isChain = ["experts", "gated unit", "norm of a sum"].contains {
      operation.name.hasPrefix($0)
    }
    return isChain ? 4e-3 : 3e-5
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

  /// All five experts win, each once, whatever the bias makes of their order.
  @Test func `a bias that is no number chooses no expert twice`() throws {
    let name = "experts, sigmoid, normalised, with bias"
    let operation = try #require(OperationCase.all.first { $0.name == name })
    let expected = try DeviceDriver(
      operation.program, RandomWeights(type: .bfloat16), on: [ReferenceDevice()]
    ).results(of: operation.sequences)
    let actual = try DeviceDriver(
      operation.program, WeightsWithNaN(), on: [EmulatedGPU.device()]
    ).results(of: operation.sequences)
    #expect(OperationCase.largestDifference(actual, expected) <= Self.tolerance(operation))
  }

  /// Random weights, but for every other element of a bias.
  private struct WeightsWithNaN: WeightSource {
    private final class Owner: @unchecked Sendable {  // written in init only
      let memory: UnsafeMutableBufferPointer<Float>

      init(_ floats: [Float]) {
        memory = .allocate(capacity: floats.count)
        _ = memory.initialize(from: floats)
      }

      deinit { memory.deallocate() }
    }

    func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
      let tensor = try RandomWeights(type: .bfloat16).tensor(weight)
      guard weight.name == "b" else { return tensor }
      let floats = tensor.dequantized().enumerated().map { $0 % 2 == 1 ? .nan : $1 }
      let owner = Owner(floats)
      return StoredTensor(
        weight: weight, type: .float32, bytes: UnsafeRawBufferPointer(owner.memory), scales: nil,
        owner: owner)
    }
  }
}
