// SPDX-License-Identifier: Apache-2.0

internal import Topology

/// Floats in host memory that cross from one device to another, on the node of their reader.
///
/// Allocated once at start. The memory is bound to its node, then touched, then looked up; what
/// did not come as asked for is said in `note`.
struct HostBuffer: @unchecked Sendable {  // the bytes belong to whoever holds the step
  let floats: UnsafeMutableBufferPointer<Float>
  /// How the memory differs from what was asked for; nil if it does not.
  let note: String?
  private let memory: NodeMemory

  init(count: Int, node: Int) throws(TopologyError) {
    memory = try NodeMemory(byteCount: count * MemoryLayout<Float>.stride, node: node)
    floats = UnsafeMutableBufferPointer(
      rebasing: memory.bytes.bindMemory(to: Float.self)[..<count])
    guard case .unbound(let reason) = memory.binding else {
      floats.update(repeating: 0)
      note = Self.misplacement(memory.residency(), node: node)
      return
    }
    note = "buffers between devices are not bound to node \(node): \(reason)"
  }

  /// The first floats.
  func prefix(_ count: Int) -> UnsafeMutableBufferPointer<Float> {
    UnsafeMutableBufferPointer(rebasing: floats[..<count])
  }

  private static func misplacement(_ residency: NodeMemory.Residency?, node: Int) -> String? {
    guard let residency, residency.onNode < residency.pageCount else { return nil }
    let (there, all) = (residency.onNode, residency.pageCount)
    return "buffers between devices: \(there) of \(all) pages are on node \(node)"
  }
}
