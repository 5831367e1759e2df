// SPDX-License-Identifier: Apache-2.0

internal import Support

extension Topology {
  /// This machine, seen from this process and the calling thread's affinity.
  package static func current() throws(TopologyError) -> Topology {
    try read(root: "/", affinity: PinnedThread.currentCPUs)
  }

  /// A machine described by the files under `root`: `sys/devices/system/{cpu,node}`,
  /// `sys/fs/cgroup`, `proc/{meminfo,self/status,self/cgroup}`. What is missing is filled in from
  /// what is there (no NUMA in the kernel: one node), with a note.
  ///
  /// - Parameter affinity: CPUs the process may run on; nil reads them from `proc/self/status`.
  package static func read(root: String, affinity: [Int]? = nil) throws(TopologyError) -> Topology {
    var reader = TopologyReader(tree: SystemTree(root: root), affinity: affinity)
    return try reader.read()
  }
}

/// Collects a topology and the notes on the way.
private struct TopologyReader {
  let tree: SystemTree
  let affinity: [Int]?
  var notes: [String] = []

  init(tree: SystemTree, affinity: [Int]?) {
    self.tree = tree
    self.affinity = affinity
  }

  mutating func read() throws(TopologyError) -> Topology {
    let cgroup = Cgroup(tree: tree)
    let usable = try usableCPUs(cgroup)
    let available = availableMemory(cgroup)
    let allowedNodes = allowedMemoryNodes(cgroup)
    var nodes = readNodes(usable, allowedNodes: allowedNodes)
    if nodes.isEmpty {
      notes.append("the kernel describes no NUMA nodes: the machine is taken as one node")
      nodes = [wholeMachine(usable, available: available)]
    }
    let cpus = readCPUs(usable, nodes: &nodes)
    return Topology(
      nodes: nodes, cpus: cpus, cpuQuota: cgroup.cpuQuota, availableMemoryBytes: available,
      notes: notes)
  }

  // MARK: CPUs

  private mutating func usableCPUs(_ cgroup: Cgroup) throws(TopologyError) -> [Int] {
    let allowed = affinity ?? tree.status("Cpus_allowed_list").flatMap(parseCPUList)
    let online =
      tree.list("sys/devices/system/cpu/online") ?? tree.list("sys/devices/system/cpu/present")
    guard var usable = online ?? allowed else {
      throw TopologyError(
        .notFound, "\(tree.root): no sys/devices/system/cpu/online, so its CPUs are unknown")
    }
    if let allowed { usable = usable.filter(Set(allowed).contains) }
    if let cpuset = cgroup.cpus { usable = usable.filter(Set(cpuset).contains) }
    guard !usable.isEmpty else {
      throw TopologyError(
        .failedPrecondition,
        "no CPU is online, within the process's affinity and within its cgroup's cpuset at once")
    }
    if let online, usable.count < online.count {
      notes.append("\(usable.count) of \(online.count) CPUs online may be used by this process")
    }
    return usable
  }

  private mutating func readCPUs(_ usable: [Int], nodes: inout [Node]) -> [CPU] {
    var nodeOf: [Int: Int] = [:]
    for node in nodes { for cpu in node.cpus { nodeOf[cpu] = node.id } }
    let homeless = usable.filter { nodeOf[$0] == nil }
    if !homeless.isEmpty {
      notes.append("CPUs \(homeless) belong to no NUMA node: they count to node \(nodes[0].id)")
      nodes[0].cpus = (nodes[0].cpus + homeless).sorted()
    }
    return usable.map { id in
      let folder = "sys/devices/system/cpu/cpu\(id)"
      let siblings =
        tree.list("\(folder)/topology/core_cpus_list")
        ?? tree.list("\(folder)/topology/thread_siblings_list")
      return CPU(
        id: id, node: nodeOf[id] ?? nodes[0].id,
        package: max(0, tree.integer("\(folder)/topology/physical_package_id") ?? 0),
        core: siblings?.first ?? id, caches: readCaches("\(folder)/cache"))
    }
  }

  private func readCaches(_ folder: String) -> [CPUCache] {
    var caches: [CPUCache] = []
    // Kernels number the caches without gaps; 16 is more than any CPU has.
    for index in 0..<16 {
      let cache = "\(folder)/index\(index)"
      guard let level = tree.integer("\(cache)/level") else { break }
      guard tree.text("\(cache)/type") != "Instruction", let size = tree.size("\(cache)/size")
      else { continue }
      caches.append(
        CPUCache(level: level, sizeBytes: size, cpus: tree.list("\(cache)/shared_cpu_list") ?? []))
    }
    return caches
  }

  // MARK: Memory

  private mutating func readNodes(_ usable: [Int], allowedNodes: [Int]?) -> [Node] {
    let ids = tree.list("sys/devices/system/node/online") ?? []
    let usable = Set(usable)
    return ids.map { id in
      let folder = "sys/devices/system/node/node\(id)"
      let meminfo = "\(folder)/meminfo"
      let distances = (tree.text("\(folder)/distance") ?? "").split(separator: " ")
        .compactMap { Int($0) }
      let isComplete = distances.count == ids.count
      if !isComplete { notes.append("node \(id): no distances to the \(ids.count) nodes") }
      return Node(
        id: id, cpus: (tree.list("\(folder)/cpulist") ?? []).filter(usable.contains),
        memoryBytes: tree.kibibytes("MemTotal", in: meminfo) ?? 0,
        freeMemoryBytes: tree.kibibytes("MemFree", in: meminfo) ?? 0,
        memoryIsAllowed: allowedNodes?.contains(id) ?? true,
        distances: isComplete ? distances : ids.map { $0 == id ? 10 : 20 })
    }
  }

  private func wholeMachine(_ usable: [Int], available: Int) -> Node {
    Node(
      id: 0, cpus: usable, memoryBytes: tree.kibibytes("MemTotal", in: "proc/meminfo") ?? 0,
      freeMemoryBytes: available, distances: [10])
  }

  private func allowedMemoryNodes(_ cgroup: Cgroup) -> [Int]? {
    let allowed = tree.status("Mems_allowed_list").flatMap(parseCPUList)
    guard let cpuset = cgroup.memoryNodes else { return allowed }
    return allowed.map { $0.filter(Set(cpuset).contains) } ?? cpuset
  }

  private mutating func availableMemory(_ cgroup: Cgroup) -> Int {
    let machine =
      tree.kibibytes("MemAvailable", in: "proc/meminfo")
      ?? tree.kibibytes("MemFree", in: "proc/meminfo")
    if machine == nil { notes.append("proc/meminfo is missing: available memory is unknown") }
    return min(machine ?? 0, cgroup.availableMemoryBytes ?? .max)
  }
}
