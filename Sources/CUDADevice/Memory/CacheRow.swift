// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Program

/// What a cache keeps of one token, and where: as `cache_layout.h` says.
struct CacheRow {
  /// Places and strides in bytes; no rows yet.
  private(set) var layout = cu_cache()
  /// What a key head's keys and values take in shared memory as they are copied, in bytes; 0 where
  /// they are copied to where they are used.
  private(set) var packedBytes = 0

  /// Bytes of a token.
  var byteCount: Int { Int(layout.stride) }

  /// nil for an operation without a cache.
  init?(_ operation: Operation, _ precision: CUDACachePrecision) {
    switch operation {
    case .attention(let op):
      self.init(heads: op.keys.count, keys: op.keys.width, values: op.values.width, precision)
    case .latentAttention(let op):
      self.init(latent: op.latent.width, rope: op.ropeKey.width, precision)
    default: return nil
    }
  }

  private init(heads: Int, keys: Int, values: Int, _ precision: CUDACachePrecision) {
    guard precision == .fp8 else {
      layout.key_bytes = Int32(keys * 2)
      layout.value_bytes = Int32(values * 2)
      layout.value_place = Int32(heads * keys * 2)
      layout.stride = Int64(heads * (keys + values) * 2)
      return
    }
    let (key, value) = (Self.pieces(keys), Self.pieces(values))
    layout.key_bytes = Int32(key)
    layout.value_bytes = Int32(value)
    layout.value_place = Int32(heads * key)
    layout.scale_place = Int32(heads * (key + value))
    layout.stride = Int64(heads * (key + value) + Self.pieces(heads * 2 * Self.scaleBytes))
    packedBytes = key + value + cu_cache_piece
  }

  private init(latent: Int, rope: Int, _ precision: CUDACachePrecision) {
    guard precision == .fp8 else {
      layout.key_bytes = Int32((latent + rope) * 2)
      layout.stride = Int64((latent + rope) * 2)
      return
    }
    let key = Self.pieces(latent)
    let scales = (latent + cu_scale_columns - 1) / cu_scale_columns
    layout.key_bytes = Int32(key)
    layout.scale_place = Int32(key)
    layout.plain_columns = Int32(rope)
    layout.plain_place = Int32(key + Self.pieces(scales * Self.scaleBytes))
    layout.stride = Int64(Int(layout.plain_place) + Self.pieces(rope * 2))
    packedBytes = Int(layout.stride)
  }

  private static let scaleBytes = 4

  /// Rounded up to whole asynchronous copies.
  private static func pieces(_ byteCount: Int) -> Int {
    AttentionShape.padded(byteCount, cu_cache_piece)
  }
}
