// SPDX-License-Identifier: Apache-2.0

internal import Program
internal import Slicing
internal import Support

/// How many cache blocks a memory budget makes.
struct KVBudget {
  /// Bytes of a block on all stages together.
  let blockBytes: Int
  /// Blocks that the largest batch of the longest sequences can use.
  let usefulCount: Int

  init(_ program: Program, _ configuration: EngineConfiguration, contextLength: Int) {
    let tokens = configuration.blockTokens
    let tokenBytes = configuration.cacheBytesPerToken ?? program.cacheWidth * 4
    blockBytes = max(1, tokenBytes * tokens)
    usefulCount = (contextLength + tokens - 1) / tokens * configuration.batchMax
  }

  /// Blocks of each context slice.
  func blocksPerSlice(
    _ configuration: EngineConfiguration, plan: SlicePlan, availableBytes: Int
  ) throws(EngineError) -> Int {
    let slices = configuration.contextSlices
    // A whole number of blocks for each slice, and one more for those that get the remainder.
    let useful = (usefulCount + slices - 1) / slices + configuration.batchMax
    let weightBytes = plan.stages.reduce(0) { $0 + $1.cost.weightBytes }
    // Mapped weights are not copied by every device, so the estimate may exceed what is there.
    let free = max(availableBytes - weightBytes, availableBytes / 8)
    let share = Int(Double(free) * EngineConfiguration.kvShareOfFreeMemory)
    let budget = configuration.kvMemoryBytes ?? share
    let affordable = min(budget / blockBytes / slices, Int(Int32.max))
    guard affordable > 0 else {
      throw EngineError(
        configuration.kvMemoryBytes == nil ? .resourceExhausted : .invalidArgument,
        "kv_memory is \(budget) bytes; expected at least \(blockBytes * slices), a block of "
          + "\(configuration.blockTokens) tokens on each of \(slices) context slices")
    }
    return min(affordable, useful)
  }
}
