// SPDX-License-Identifier: Apache-2.0

internal import Support

extension GPU {
  /// Memory of the host that kernels and copies use like the GPU's own, over the GPU's link
  /// ("managed"). It stays where it is: pages that moved to a full GPU would drive out others.
  package func allocateInHostMemory(_ byteCount: Int) throws(CUDAError) -> UInt64 {
    guard properties.readsHostMemory else {
      throw CUDAError(
        .failedPrecondition,
        "\(properties.place) cannot read the host's memory while the host uses it "
          + "(no concurrent managed access)")
    }
    var address: UInt64 = 0
    // 1: for any queue.
    try expect(
      driver.functions.allocateManaged(&address, max(1, byteCount), 1),
      "cuMemAllocManaged of \(byteCount) bytes")
    keep(address, byteCount)
    try advise(.preferredLocation, Self.host, address, byteCount)
    try advise(.accessedBy, Self.place(properties.device), address, byteCount)
    // All pages at once, and not one by one when they are first written.
    try expect(
      driver.functions.prefetch(address, max(1, byteCount), Self.host, 0, stream),
      "cuMemPrefetchAsync of \(byteCount) bytes")
    return address
  }

  /// `CUmem_advise`
  private enum Advice: Int32 {
    case preferredLocation = 3
    /// Keeps a GPU's page table up to date.
    case accessedBy = 5
  }

  private static let host: DriverFunctions.Location = 2

  private static func place(_ device: Int32) -> DriverFunctions.Location {
    1 | UInt64(UInt32(bitPattern: device)) << 32
  }

  private func advise(
    _ advice: Advice, _ location: DriverFunctions.Location, _ address: UInt64, _ byteCount: Int
  ) throws(CUDAError) {
    try expect(
      driver.functions.advise(address, max(1, byteCount), advice.rawValue, location),
      "cuMemAdvise of \(byteCount) bytes")
  }
}
