// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Conformance
import Device
import Program

/// A model with latent attention, all rows of which take the expanded form on a GPU.
struct VerifiedExpansion {
  /// Chunks of fewer rows are absorbed, whatever is asked for.
  static let rowsMin = 2
  /// So few that there are several portions.
  private static let portionTokens = 128

  let program: Program
  let weights: any WeightSource
  let tokens: [Int32]
  let gpu: Int
  let keys: CUDACachePrecision

  /// Two chunks, none of a single row.
  private var chunk: Int { max(Self.rowsMin, tokens.count * 2 / 3) }

  private func device(portionTokens: Int) throws -> CUDADevice {
    try CUDADevice(
      CUDADeviceConfiguration(
        gpu: gpu, precision: .bf16, cachePrecision: keys,
        expansion: CUDAExpansion(rowsMin: Self.rowsMin, portionTokens: portionTokens)))
  }

  /// How far attention with what stands around it is off; nil without latent attention.
  func error() throws -> Float? {
    if program.latentGroups.isEmpty || tokens.count < 2 * Self.rowsMin { return nil }
    let comparison = try DeviceComparison(
      program, weights, device: try device(portionTokens: Self.portionTokens),
      keysAreFP8: keys == .fp8, rowCount: tokens.count)
    return try comparison.latentGroupError(of: tokens, chunk: chunk)
  }

  /// Whether portions and chunks change no bit; `lastLogits` runs a device in chunks.
  func areSame(_ lastLogits: (any Device, Int) throws -> [Float]) throws -> Bool {
    let whole = try lastLogits(
      device(portionTokens: CUDAExpansion.portionTokensDefault), tokens.count)
    let parts = try lastLogits(device(portionTokens: Self.portionTokens), chunk)
    return whole.allSatisfy(\.isFinite) && whole.map(\.bitPattern) == parts.map(\.bitPattern)
  }
}
