// SPDX-License-Identifier: Apache-2.0

internal import Program

/// The feed-forward half of a layer: `down(silu(gate(x)) * up(x))` (Shazeer 2020).
struct GatedMLP {
  let hiddenSize: Int
  let intermediateSize: Int
  var hasBias = false

  /// `prefix` is what stands before the projections' names: "model.layers.0.mlp.".
  func build(_ b: inout ProgramBuilder, _ x: ValueID, _ prefix: String) -> ValueID {
    let gate = b.linear(
      x, Weight("\(prefix)gate_proj.weight", [intermediateSize, hiddenSize]),
      bias: bias("\(prefix)gate_proj", intermediateSize))
    let up = b.linear(
      x, Weight("\(prefix)up_proj.weight", [intermediateSize, hiddenSize]),
      bias: bias("\(prefix)up_proj", intermediateSize))
    return b.linear(
      b.swiglu(gate: gate, up: up),
      Weight("\(prefix)down_proj.weight", [hiddenSize, intermediateSize]),
      bias: bias("\(prefix)down_proj", hiddenSize))
  }

  private func bias(_ name: String, _ width: Int) -> Weight? {
    hasBias ? Weight("\(name).bias", [width]) : nil
  }
}
