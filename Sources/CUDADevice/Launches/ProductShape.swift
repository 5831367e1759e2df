// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels

/// How a product of many tokens is cut in blocks: none of it changes a bit.
struct ProductShape: Hashable {
  /// Warps of a block, a tile of rows each.
  var warps: Int
  /// Blocks of one matrix, side by side.
  var blocks: Int
  /// Blocks that share the parts of the columns.
  var splits: Int

  static let warpsMin = 4
  /// Tiles for which blocks may share the parts: their sums need memory.
  static let splitTilesMax = 1_024
  /// Tokens likewise.
  static let splitTokensMax = cu_product_tokens_max

  /// What there is to do.
  struct Work: Hashable {
    /// Tiles of a matrix with all its parts, or of the gate.
    var tiles: Int
    var isGated: Bool
    var spans: Int
    /// Blocks that a choice of rows is multiplied by: matrices, and parts of the tokens.
    var copies: Int
    var tokens: Int
    var maySplit: Bool
  }

  /// The shape that is done first: blocks go in rounds of as many as the GPU holds, and a round
  /// takes as long as its spans times its warps; adding the parts of shared columns takes a launch
  /// and its bytes.
  ///
  /// - Parameters:
  ///   - slots: blocks that the GPU holds.
  ///   - warpsMax: warps of a block, at most.
  static func best(for work: Work, slots: Int, warpsMax: Int) -> ProductShape {
    let candidates = (warpsMin...warpsMax).filter { !work.isGated || $0 % 2 == 0 }
    let maySplit =
      work.maySplit && work.tiles <= splitTilesMax && work.spans >= cu_product_warps
    var best = ProductShape(warps: 8, blocks: 1, splits: 1)
    var least = Int.max
    for splits in maySplit ? [1, 2, 4, 8] : [1] {
      for warps in candidates.reversed() {
        let tiles = work.isGated ? 2 * work.tiles : work.tiles
        let blocks = (tiles + warps - 1) / warps
        let rounds = (blocks * splits * work.copies + slots - 1) / slots
        let spans = (work.spans + splits - 1) / splits
        // In spans of a tile; a launch is ten of them, 2 KiB of sums one.
        let sums = splits == 1 ? 0 : 10 + tiles * work.tokens / (2 * slots)
        let time = rounds * warps * spans + sums
        if time < least {
          least = time
          best = ProductShape(warps: warps, blocks: blocks, splits: splits)
        }
      }
    }
    return best
  }
}
