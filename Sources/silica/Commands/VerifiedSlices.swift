// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Conformance
import Device
import Engine
import Executor
import Program
import Topology

/// A model whose keys are on several devices of a GPU, which exchange without the host: beside the
/// same devices with the host between them.
struct VerifiedSlices {
  static let count = 3
  /// So few that each slice has some keys.
  private static let blockTokens = 4

  let program: Program
  let weights: any WeightSource
  let tokens: [Int32]
  let gpu: Int
  let keys: CUDACachePrecision

  /// Whether all logits have the same bits. Throws where there is no way without the host.
  func areSame() throws -> Bool {
    let direct = try logits(isDirect: true)
    let byHost = try logits(isDirect: false)
    return direct.allSatisfy(\.isFinite) && direct.map(\.bitPattern) == byHost.map(\.bitPattern)
  }

  private func logits(isDirect: Bool) throws -> [Float] {
    let device = CUDADeviceConfiguration(gpu: gpu, precision: .bf16, cachePrecision: keys)
    var configuration = EngineConfiguration()
    configuration.contextSlices = Self.count
    configuration.threadsPerDevice = 1
    configuration.batchMax = 1
    configuration.blockTokens = Self.blockTokens
    configuration.rowCountMax = max(1, tokens.count * 2 / 3)
    configuration.outputCountMax = configuration.rowCountMax
    configuration.contextLength = tokens.count + 1
    let engine = try Engine.start(
      program, from: weights,
      devices: { _ throws(DeviceError) in
        let device = try CUDADevice(device)
        return isDirect ? device : HostBoundDevice(device)
      }, configuration: configuration, topology: Topology.current())
    defer { engine.shutdown() }
    let note = engine.deviceNotes.first ?? "through the host"
    guard note.hasSuffix("without the host") == isDirect else {
      throw CommandError("devices of cuda:\(gpu) do not exchange as they should: \(note)")
    }
    return try engine.logits(of: tokens)
  }
}
