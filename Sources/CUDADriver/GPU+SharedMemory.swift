// SPDX-License-Identifier: Apache-2.0

internal import Support

/// Memory of this GPU that belongs to no process: each maps it for itself (the driver's virtual
/// memory management). Nobody's end, or crash, takes it from the others.
extension GPU {
  /// Memory that can be handed to another process, and what to hand over.
  package func allocateShareable(
    _ byteCount: Int
  ) throws(CUDAError) -> (address: UInt64, descriptor: MemoryDescriptor) {
    guard properties.sharesMemory else {
      throw CUDAError(
        .failedPrecondition, "\(properties.place) cannot share memory as file descriptors")
    }
    let properties = memoryProperties
    let size = try wholeSize(byteCount)
    var handle: UInt64 = 0
    try expect(
      driver.functions.createMemory(&handle, size, properties, 0), "cuMemCreate of \(size) bytes")
    // What maps it, or has its descriptor, keeps it.
    defer { _ = driver.functions.releaseMemory(handle) }
    var number: Int32 = -1
    try expect(
      driver.functions.exportMemory(&number, handle, Self.fileDescriptor, 0),
      "cuMemExportToShareableHandle")
    let descriptor = MemoryDescriptor(number)
    return (try map(handle, size, access: [Self.readWrite]), descriptor)
  }

  /// Maps what another process has handed over, for reading.
  package func mapShared(
    _ descriptor: MemoryDescriptor, byteCount: Int
  ) throws(CUDAError) -> UInt64 {
    var handle: UInt64 = 0
    try expect(
      driver.functions.importMemory(
        &handle, UnsafeMutableRawPointer(bitPattern: Int(descriptor.number)), Self.fileDescriptor),
      "cuMemImportFromShareableHandle")
    defer { _ = driver.functions.releaseMemory(handle) }
    // Not every driver knows memory that kernels only read.
    return try map(handle, try wholeSize(byteCount), access: [Self.readOnly, Self.readWrite])
  }

  // Of `CUmemAllocationHandleType` and `CUmemAccess_flags`.
  private static let fileDescriptor: Int32 = 1
  private static let readOnly: Int32 = 1
  private static let readWrite: Int32 = 3

  /// `CUmemAllocationProp`: pinned memory of this GPU that can be a file descriptor.
  private var memoryProperties: [UInt64] {
    let device = UInt64(UInt32(bitPattern: properties.device))
    return [1 | 1 << 32, 1 | device << 32, 0, 0]
  }

  private func wholeSize(_ byteCount: Int) throws(CUDAError) -> Int {
    var unit = 0
    try expect(
      driver.functions.granularity(&unit, memoryProperties, 0), "cuMemGetAllocationGranularity")
    return (max(1, byteCount) + unit - 1) / unit * unit
  }

  /// - Parameter access: the first of these that the driver grants.
  private func map(
    _ handle: UInt64, _ size: Int, access: [Int32]
  ) throws(CUDAError) -> UInt64 {
    let functions = driver.functions
    var address: UInt64 = 0
    try expect(
      functions.reserveAddresses(&address, size, 0, 0, 0), "cuMemAddressReserve of \(size) bytes")
    var status = functions.map(address, size, 0, handle, 0)
    guard status == 0 else {
      _ = functions.freeAddresses(address, size)
      return try failed(status, "cuMemMap of \(size) bytes")
    }
    mappings.append((address, size))
    for flags in access {
      status = functions.setAccess(address, size, [1, properties.device, flags], 1)
      if status == 0 { return address }
    }
    return try failed(status, "cuMemSetAccess of \(size) bytes")
  }

  private func failed(_ status: Int32, _ call: String) throws(CUDAError) -> UInt64 {
    throw driver.error(DriverStatus(rawValue: status), "\(properties.place): \(call)")
  }

  func unmapAll() {
    for (address, size) in mappings {
      _ = driver.functions.unmap(address, size)
      _ = driver.functions.freeAddresses(address, size)
    }
  }
}
