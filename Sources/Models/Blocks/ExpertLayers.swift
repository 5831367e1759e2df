// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint

/// Which layers of a DeepSeek model have experts: those from `first_k_dense_replace` on whose
/// number is a multiple of `moe_layer_freq`.
struct ExpertLayers {
  private let first: Int
  private let frequency: Int

  init(_ fields: ConfigurationFields, defaults: ExpertDefaults) throws(CheckpointError) {
    first = try fields.integer("first_k_dense_replace", 0..., default: defaults.firstLayer)
    frequency = try fields.integer("moe_layer_freq", 1..., default: 1)
  }

  func contain(_ layer: Int) -> Bool { layer >= first && layer % frequency == 0 }
}
