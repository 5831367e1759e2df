// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Pinned memory of the host that kernels read and write where it lies, over the GPU's link: each
/// read takes a microsecond or two, so it is for what is read once. It has two addresses, which
/// need not be alike. What a kernel reads the host has written before the launch; what the host
/// reads a kernel has written before a word that it sets (`MappedWord`), or before its end.
package struct MappedMemory {
  /// As the host has it.
  package let bytes: UnsafeMutableRawBufferPointer
  /// As kernels have it.
  package let address: UInt64
}

/// A word of mapped memory that a kernel sets, behind all else that it writes there, and that the
/// host looks at meanwhile.
package struct MappedWord {
  package static let byteCount = MemoryLayout<Atomic<UInt64>>.size

  /// As kernels have it.
  package let address: UInt64
  private let place: UnsafeMutablePointer<Atomic<UInt64>>

  /// Where some memory begins, at a multiple of eight bytes; nil where it is too short. It is zero
  /// until a kernel sets it.
  package init?(_ memory: MappedMemory) {
    guard let start = memory.bytes.baseAddress, memory.bytes.count >= Self.byteCount else {
      return nil
    }
    address = memory.address
    place = start.bindMemory(to: Atomic<UInt64>.self, capacity: 1)
    place.initialize(to: Atomic(0))
  }

  /// With it comes what the kernel wrote before.
  package var value: UInt64 { place.pointee.load(ordering: .acquiring) }
}
