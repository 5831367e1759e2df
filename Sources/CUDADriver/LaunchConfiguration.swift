// SPDX-License-Identifier: Apache-2.0

/// How a kernel is launched, as `CUlaunchConfig` and one `CUlaunchAttribute` of the driver lie in
/// memory. Confined to the thread of its GPU.
final class LaunchConfiguration {
  private static let byteCount = 56
  private static let attributeByteCount = 72

  /// What else is said of a launch, by the driver's numbers.
  enum Attribute: UInt32 {
    /// All blocks are on the GPU together: `CU_LAUNCH_ATTRIBUTE_COOPERATIVE`.
    case cooperative = 2
    /// Kernels may begin before those in front of them are done, and wait by themselves before they
    /// read (compute capability 9.0 on, if compiled for it):
    /// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`.
    case programmaticSerialization = 6
  }

  private let memory: UnsafeMutableRawPointer

  init(stream: UnsafeMutableRawPointer, _ attribute: Attribute?) {
    memory = .allocate(byteCount: Self.byteCount + Self.attributeByteCount, alignment: 8)
    memory.initializeMemory(
      as: UInt8.self, repeating: 0, count: Self.byteCount + Self.attributeByteCount)
    let place = memory + Self.byteCount
    place.storeBytes(of: attribute?.rawValue ?? 0, as: UInt32.self)
    place.storeBytes(of: 1, toByteOffset: 8, as: Int32.self)
    memory.storeBytes(of: UInt(bitPattern: stream), toByteOffset: 32, as: UInt.self)
    memory.storeBytes(of: UInt(bitPattern: place), toByteOffset: 40, as: UInt.self)
    memory.storeBytes(of: attribute == nil ? 0 : 1, toByteOffset: 48, as: UInt32.self)
  }

  deinit { memory.deallocate() }

  /// Good until the next call.
  func callAsFunction(
    blocks: (UInt32, UInt32, UInt32), threads: UInt32, sharedBytes: UInt32
  ) -> UnsafeRawPointer {
    memory.storeBytes(of: blocks.0, as: UInt32.self)
    memory.storeBytes(of: blocks.1, toByteOffset: 4, as: UInt32.self)
    memory.storeBytes(of: blocks.2, toByteOffset: 8, as: UInt32.self)
    memory.storeBytes(of: threads, toByteOffset: 12, as: UInt32.self)
    memory.storeBytes(of: 1, toByteOffset: 16, as: UInt32.self)
    memory.storeBytes(of: 1, toByteOffset: 20, as: UInt32.self)
    memory.storeBytes(of: sharedBytes, toByteOffset: 24, as: UInt32.self)
    return UnsafeRawPointer(memory)
  }
}
