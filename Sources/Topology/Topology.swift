// SPDX-License-Identifier: Apache-2.0

/// What of this machine the process may use: NUMA nodes, CPUs, caches and memory.
///
/// Plain data, read once at start by `Topology.read`. CPUs that are offline, outside the process's
/// affinity or outside its cgroup's cpuset do not appear; a node without CPUs (CXL memory) does.
package struct Topology: Hashable, Sendable {
  /// In order of id; ids need not be contiguous.
  package var nodes: [Node]
  /// In order of id.
  package var cpus: [CPU]
  /// CPU time that the cgroup grants, in CPUs; nil without a limit.
  package var cpuQuota: Double?
  /// Memory that new allocations may take without swapping, in bytes, cgroup limits applied.
  package var availableMemoryBytes: Int
  /// What could not be read or used, one sentence each.
  package var notes: [String]

  package init(
    nodes: [Node], cpus: [CPU], cpuQuota: Double? = nil, availableMemoryBytes: Int,
    notes: [String] = []
  ) {
    self.nodes = nodes
    self.cpus = cpus
    self.cpuQuota = cpuQuota
    self.availableMemoryBytes = availableMemoryBytes
    self.notes = notes
  }

  /// The usable physical cores: CPUs grouped by core, each group in order of id.
  package var cores: [Core] {
    Dictionary(grouping: cpus, by: \.core)
      .map { Core(id: $0.key, node: $0.value[0].node, cpus: $0.value.map(\.id)) }
      .sorted { ($0.node, $0.id) < ($1.node, $1.id) }
  }

  package func node(_ id: Int) -> Node? { nodes.first { $0.id == id } }

  /// The relative cost of memory access from one node to another; 10 is local.
  package func distance(from: Int, to: Int) -> Int? {
    guard let target = nodes.firstIndex(where: { $0.id == to }) else { return nil }
    return node(from)?.distances[target]
  }
}

/// A NUMA node.
package struct Node: Hashable, Sendable {
  package var id: Int
  /// The usable CPUs, in order of id; empty for a node of memory alone.
  package var cpus: [Int]
  package var memoryBytes: Int
  package var freeMemoryBytes: Int
  /// Whether the cgroup lets the process allocate here.
  package var memoryIsAllowed: Bool
  /// To each node of the topology, in its order.
  package var distances: [Int]

  package init(
    id: Int, cpus: [Int], memoryBytes: Int, freeMemoryBytes: Int, memoryIsAllowed: Bool = true,
    distances: [Int]
  ) {
    self.id = id
    self.cpus = cpus
    self.memoryBytes = memoryBytes
    self.freeMemoryBytes = freeMemoryBytes
    self.memoryIsAllowed = memoryIsAllowed
    self.distances = distances
  }
}

/// A logical CPU, one hardware thread.
package struct CPU: Hashable, Sendable {
  package var id: Int
  package var node: Int
  /// The physical package (socket).
  package var package: Int
  /// The lowest CPU of its physical core, usable or not; siblings share it.
  package var core: Int
  package var caches: [CPUCache]

  package init(id: Int, node: Int, package: Int, core: Int, caches: [CPUCache]) {
    self.id = id
    self.node = node
    self.package = package
    self.core = core
    self.caches = caches
  }
}

/// A data or unified cache that a CPU reads through.
package struct CPUCache: Hashable, Sendable {
  package var level: Int
  package var sizeBytes: Int
  /// The CPUs that share it, usable or not.
  package var cpus: [Int]

  package init(level: Int, sizeBytes: Int, cpus: [Int]) {
    self.level = level
    self.sizeBytes = sizeBytes
    self.cpus = cpus
  }
}

/// A physical core with its usable hardware threads.
package struct Core: Hashable, Sendable {
  package var id: Int
  package var node: Int
  /// In order of id, at least one.
  package var cpus: [Int]
}
