// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels

/// How the slots of a step's experts are cut in pieces of work; see `slots.h`. The router lists
/// them, and a product has a block, or a row of blocks, for each.
struct ExpertWork {
  /// Slots of a piece at most: the tokens of a block of the product's kernel.
  let slots: Int
  /// Pieces at most, however rows choose.
  let count: Int

  /// - Parameter hasPrefill: whether there are kernels for more tokens than others' blocks have.
  init(rows: Int, topK: Int, experts: Int, hasPrefill: Bool) {
    let all = rows * topK
    // Twice as many as experts have on average: few of them then need a second piece.
    let wanted = all <= cu_few_tokens * experts ? cu_few_tokens : 2 * all / experts
    let sizes =
      [cu_few_tokens] + ProductKernels.manyTokens + (hasPrefill ? [cu_prefill_tokens] : [])
    slots = sizes.first { $0 >= wanted } ?? sizes[sizes.count - 1]
    count = min(experts, all) + all / slots
  }

  /// Whether they are for `PrefillLaunch`.
  var isOfMany: Bool { slots == cu_prefill_tokens }

  /// As many as there can be in any step of so many rows.
  static func countMax(rows: Int, topK: Int, experts: Int) -> Int {
    min(experts, rows * topK) + rows * topK / Int(cu_few_tokens)
  }
}
