// SPDX-License-Identifier: Apache-2.0

internal import CNUMA
internal import Glibc
internal import Support

/// Zeroed memory of whole pages, bound to a NUMA node before it is first touched, and given back
/// when the last reference goes.
///
/// Binding is best effort: a container may forbid it, a kernel may lack it. `binding` says what
/// came of it, `residency()` what the kernel really did.
package final class NodeMemory: @unchecked Sendable {
  // Immutable but for the bytes, which belong to the owner's thread.

  /// What became of the wish to have memory on a node.
  package enum Binding: Hashable, Sendable {
    case bound(node: Int)
    /// Not bound, and why: the memory lies where the first touch put it.
    case unbound(reason: String)
  }

  /// Where pages lie.
  package struct Residency: Hashable, Sendable {
    /// Pages looked at that have been touched.
    package var pageCount: Int
    /// Those of them on the node asked for.
    package var onNode: Int
  }

  /// Pages that `residency` looks at, at most.
  package static let sampledPageCountMax = 1024

  package let bytes: UnsafeMutableRawBufferPointer
  package let binding: Binding
  private let node: Int

  /// - Parameter node: a node of the topology that the memory was read from.
  package init(byteCount: Int, node: Int) throws(TopologyError) {
    let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
    let size = max(1, (byteCount + pageSize - 1) / pageSize) * pageSize
    let address = mmap(
      nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let address, address != MAP_FAILED else {
      throw TopologyError(
        .resourceExhausted, "cannot reserve \(size) bytes of memory: \(errorText(errno))")
    }
    bytes = UnsafeMutableRawBufferPointer(start: address, count: size)
    binding = Self.bind(bytes, node: node)
    self.node = node
  }

  deinit { munmap(bytes.baseAddress, bytes.count) }

  /// Asks the kernel where the touched pages lie; nil when it does not say.
  package func residency() -> Residency? {
    guard numa_available() >= 0, let base = bytes.baseAddress else { return nil }
    let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
    let total = bytes.count / pageSize
    let stride = max(1, total / Self.sampledPageCountMax)
    var pages: [UnsafeMutableRawPointer?] = Swift.stride(from: 0, to: total, by: stride)
      .map { base + $0 * pageSize }
    var status = [Int32](repeating: -1, count: pages.count)
    guard move_pages(0, UInt(pages.count), &pages, nil, &status, 0) == 0 else { return nil }
    let touched = status.filter { $0 >= 0 }
    return Residency(
      pageCount: touched.count, onNode: touched.count { $0 == Int32(truncatingIfNeeded: node) })
  }

  /// Lets the calling thread, and threads that it starts, take new memory from `node` while that
  /// has any.
  package static func preferForThread(node: Int) -> Binding {
    withMask(of: node) { mask, bits in
      set_mempolicy(MPOL_PREFERRED, mask, bits)
    }
  }

  private static func bind(_ bytes: UnsafeMutableRawBufferPointer, node: Int) -> Binding {
    withMask(of: node) { mask, bits in
      mbind(bytes.baseAddress, UInt(bytes.count), MPOL_BIND, mask, bits, 0)
    }
  }

  private static func withMask(
    of node: Int, _ call: (UnsafePointer<UInt>, UInt) -> Int
  ) -> Binding {
    guard numa_available() >= 0 else {
      return .unbound(reason: "the kernel offers no memory policy to this process")
    }
    guard node >= 0, node < maskBits else { return .unbound(reason: "node \(node) is no node") }
    var mask = [UInt](repeating: 0, count: maskBits / UInt.bitWidth)
    mask[node / UInt.bitWidth] = 1 << UInt(node % UInt.bitWidth)
    // The kernel reads one bit less than it is told of.
    let code = call(mask, UInt(maskBits + 1))
    guard code == 0 else {
      return .unbound(reason: "binding to node \(node) failed: \(errorText(errno))")
    }
    return .bound(node: node)
  }

  /// Nodes that Linux is built for, at most.
  private static let maskBits = 1024
}

private func errorText(_ code: Int32) -> String { String(cString: strerror(code)) }
