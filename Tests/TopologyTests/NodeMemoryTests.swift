// SPDX-License-Identifier: Apache-2.0

import Testing
import Topology

/// Memory on nodes, on whatever machine the test runs.
struct NodeMemoryTests {
  @Test func memoryIsZeroWholeAndWhereItWasAskedFor() throws {
    let node = try Topology.current().nodes[0].id
    let memory = try NodeMemory(byteCount: 100_000, node: node)
    #expect(memory.bytes.count >= 100_000 && memory.bytes.count % 4096 == 0)
    #expect(memory.bytes.allSatisfy { $0 == 0 })
    memory.bytes.storeBytes(of: 7, toByteOffset: 99_992, as: Int.self)
    switch memory.binding {
    case .bound(let bound):
      #expect(bound == node)
      memory.bytes.copyBytes(from: [UInt8](repeating: 1, count: 100_000))
      if let residency = memory.residency() { #expect(residency.onNode == residency.pageCount) }
    case .unbound(let reason):
      #expect(!reason.isEmpty)
    }
  }

  @Test func aNodeThatIsNotThereIsNotAnErrorButAReason() throws {
    for node in [1023, -1, 5000] {
      let memory = try NodeMemory(byteCount: 4096, node: node)
      guard case .unbound(let reason) = memory.binding else {
        Issue.record("memory is bound to node \(node)")
        continue
      }
      #expect(reason.contains("node") || reason.contains("memory policy"))
      memory.bytes[0] = 1
    }
  }
}
