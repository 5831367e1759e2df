// SPDX-License-Identifier: Apache-2.0

/// Memory of a GPU, freed when nobody holds it: its `GPU`, and those whose queues write to it.
/// Safe to use from any thread.
final class GPUAllocation: @unchecked Sendable {  // `isFree` is its GPU's thread's
  let address: UInt64
  private let byteCount: Int
  private let context: PrimaryContext
  private var isFree = false

  init(address: UInt64, byteCount: Int, context: PrimaryContext) {
    self.address = address
    self.byteCount = byteCount
    self.context = context
  }

  deinit { if !isFree { _ = free() } }

  func holds(_ address: UInt64) -> Bool {
    address >= self.address && address < self.address + UInt64(max(1, byteCount))
  }

  /// Before anybody else has held it.
  func free() -> DriverFunctions.Status {
    isFree = true
    return context.asCurrent { context.driver.functions.free(address) }
  }
}
