// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Program

/// The widest keys and values of a program's attentions, and what shared memory a block takes of
/// them (`TilePlaces` in `attention_tile.h`, `PackedTile` in `attention_packed.h`).
struct AttentionShape {
  private(set) var keyWidth = 0
  /// 0: values are the keys' first columns.
  private(set) var valueWidth = 0
  /// What a key takes of a tile that is on its way beside the one in use; 0: tiles come to where
  /// they are used.
  private(set) var packedBytes = 0

  init() {}

  /// Of keys and values in bfloat16.
  init(keyWidth: Int, valueWidth: Int) {
    self.keyWidth = keyWidth
    self.valueWidth = valueWidth
  }

  init(_ program: Program, _ precision: CUDACachePrecision) {
    for operation in program.operations {
      packedBytes = max(packedBytes, CacheRow(operation, precision)?.packedBytes ?? 0)
      switch operation {
      case .attention(let op):
        keyWidth = max(keyWidth, op.keys.width)
        valueWidth = max(valueWidth, op.values.width)
      case .latentAttention(let op):
        keyWidth = max(keyWidth, op.latent.width + op.ropeKey.width)
      default: continue
      }
    }
  }

  /// Bytes that kernels declare themselves, at most.
  private static let declaredBytes = 6 << 10

  /// Tiles of keys that a block has room for: 2, or 1; 0 if there is no room at all.
  func stages(sharedBytesMax: Int) -> Int {
    let room = sharedBytesMax - Self.declaredBytes
    return [2, 1].first { bytes(queryRows: cu_tile_heads, stages: $0) <= room } ?? 0
  }

  /// What a block takes at the least.
  var bytesMin: Int { bytes(queryRows: cu_tile_heads, stages: 1) + Self.declaredBytes }

  /// Whether a block has room for a window's query rows too.
  func fitsWindow(queryRows: Int, stages: Int, sharedBytesMax: Int) -> Bool {
    bytes(queryRows: queryRows, stages: stages) <= sharedBytesMax - Self.declaredBytes
  }

  /// Of a block with so many tiles of keys on their way, the one in use among them or, where tiles
  /// are packed, beside them.
  func bytes(queryRows: Int, stages: Int) -> Int {
    let key = Self.padded(keyWidth, cu_key_padding) + cu_bank_columns
    let value =
      valueWidth == 0 ? 0 : Self.padded(valueWidth, cu_value_padding) + cu_bank_columns
    let weights = cu_tile_keys + cu_bank_columns
    let tiles = packedBytes > 0 ? 1 : stages
    return 2 * (queryRows * (key + weights) + tiles * cu_tile_keys * (key + value))
      + stages * cu_tile_keys * packedBytes
  }

  static func padded(_ width: Int, _ multiple: Int) -> Int {
    (width + multiple - 1) / multiple * multiple
  }
}
