// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Device
import Foundation
import Program
import TestSupport
import Testing

/// A table that stays mapped as stored.
@Suite struct CPUPageTests {
  private static let (rows, columns) = (2048, 1024)

  @Test func `its pages are read in the background`() throws {
    let folder = try TemporaryDirectory()
    let path = folder.path("table")
    try Data(count: Self.rows * Self.columns * MemoryLayout<Float>.size)
      .write(to: URL(fileURLWithPath: path))
    let table = try MappedTable(path)
    #expect(try table.pagesInUse() == 0)
    let program = Self.program()
    let device = try CPUDevice(.init(precision: .f32, threadCount: 1))
    try device.load(
      program, from: table,
      capacity: DeviceCapacity(
        rowCountMax: 4, outputCountMax: 4, blockCount: 1, blockTokens: 4,
        contextSlice: ContextSlice(index: 0, count: 1)), progress: { _ in })
    let deadline = ContinuousClock.now + .seconds(20)
    while try table.pagesInUse() < table.pageCount, ContinuousClock.now < deadline { usleep(1000) }
    #expect(try table.pagesInUse() == table.pageCount)
    withExtendedLifetime(device) {}
  }

  private static func program() -> Program {
    var builder = ProgramBuilder()
    let input = builder.embed(Weight("table", [rows, columns]))
    let outputs = builder.selectOutputs(input)
    return builder.finish(
      name: "embedding", vocabularySize: columns, contextLength: 4, logits: outputs)
  }
}

/// One tensor of zeros in a mapped file.
private final class MappedTable: WeightSource, @unchecked Sendable {  // written in init only
  private let bytes: UnsafeRawBufferPointer
  private static let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))

  init(_ path: String) throws {
    let file = open(path, O_RDONLY)
    try #require(file >= 0)
    defer { close(file) }
    var status = stat()
    try #require(fstat(file, &status) == 0)
    let count = Int(status.st_size)
    let address = try #require(mmap(nil, count, PROT_READ, MAP_PRIVATE, file, 0))
    try #require(address != MAP_FAILED)
    bytes = UnsafeRawBufferPointer(start: address, count: count)
  }

  deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    StoredTensor(weight: weight, type: .float32, bytes: bytes, scales: nil, owner: self)
  }

  var pageCount: Int { bytes.count / Self.pageSize }

  /// Pages that this process need not fault in any more.
  func pagesInUse() throws -> Int {
    let file = open("/proc/self/pagemap", O_RDONLY)
    try #require(file >= 0)
    defer { close(file) }
    var entries = [UInt64](repeating: 0, count: pageCount)
    let first = Int(bitPattern: bytes.baseAddress) / Self.pageSize
    let read = entries.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, first * 8) }
    try #require(read == entries.count * 8)
    return entries.count { $0 >> 63 == 1 }
  }
}
