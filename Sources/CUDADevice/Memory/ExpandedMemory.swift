// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Device
internal import Program

/// What the expanded form needs beside, and how it lies. Strides are in elements.
struct ExpandedShape {
  var heads = 0
  var latentStride = 0
  /// Of a head's key and value.
  var keyWidth = 0
  var valueWidth = 0
  /// Of keys and values of all heads.
  var rowWidth = 0

  init(_ groups: [LatentGroup]) {
    for group in groups {
      heads = max(heads, group.headCount)
      latentStride = max(latentStride, Self.latentStride(group))
      keyWidth = max(keyWidth, group.plainWidth + group.ropeWidth)
      valueWidth = max(valueWidth, group.valueWidth)
      rowWidth = max(rowWidth, Self.rowWidth(group))
    }
  }

  /// Where rotary columns begin in a gathered row.
  static func rotaryPlace(_ group: LatentGroup) -> Int {
    AttentionShape.padded(group.latentWidth, 8)
  }

  static func latentStride(_ group: LatentGroup) -> Int {
    rotaryPlace(group) + AttentionShape.padded(group.ropeWidth, 8)
  }

  /// Of a token's keys and values.
  static func rowWidth(_ group: LatentGroup) -> Int {
    group.headCount * (group.plainWidth + group.valueWidth)
  }

  /// Of one block's keys and values.
  var attention: AttentionShape { AttentionShape(keyWidth: keyWidth, valueWidth: valueWidth) }
}

/// Memory of the expanded form, shared by all layers.
struct ExpandedMemory {
  /// Latents and rotary columns of a portion; keys and values made of them.
  var latents, rows: UInt64
  /// What the rows of a step have of the portions so far.
  var sums, scores: UInt64

  init(
    _ shape: ExpandedShape, _ expansion: CUDAExpansion, _ capacity: DeviceCapacity,
    _ arena: inout DeviceArena
  ) {
    let tokens = expansion.portionTokens
    let sumWidth = AttentionShape.padded(shape.valueWidth, cu_value_padding)
    latents = arena.allocate(tokens * shape.latentStride * 2, for: .buffers)
    rows = arena.allocate(tokens * shape.rowWidth * 2, for: .buffers)
    sums = arena.allocate(capacity.rowCountMax * shape.heads * sumWidth * 4, for: .buffers)
    scores = arena.allocate(capacity.rowCountMax * shape.heads * 8, for: .buffers)
  }
}
