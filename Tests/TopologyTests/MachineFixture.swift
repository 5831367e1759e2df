// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// A machine that is not here, written as the files of `/sys` and `/proc` that describe it.
struct MachineFixture {
  struct NodeSpec {
    var id: Int
    var cpus: String
    var memoryMiB: Int
    var distances: [Int]
  }

  var nodes: [NodeSpec]
  /// Lists of the CPUs of each core: ["0,64", "1,65"].
  var cores: [String]
  /// The package of a core, by its place in `cores`.
  var packageOfCore: (Int) -> Int = { _ in 0 }
  var online: String
  /// `/proc/self/status`; nil leaves the line out.
  var cpusAllowed: String?
  var memoryNodesAllowed: String?
  /// Files beside those, by path.
  var extra: [String: String] = [:]
  var availableMiB = 16_384
  var hasNodes = true

  /// Nodes of equal size, one after the other: CPUs `0..<cores` first, then their siblings.
  static func uniform(
    nodes nodeCount: Int, coresPerNode: Int, threadsPerCore: Int = 1, memoryMiB: Int = 65_536,
    remoteDistance: Int = 21, nodesPerPackage: Int = 1
  ) -> MachineFixture {
    let coreCount = nodeCount * coresPerNode
    let nodes = (0..<nodeCount).map { node in
      let ranges = (0..<threadsPerCore).map { thread in
        let first = thread * coreCount + node * coresPerNode
        return "\(first)-\(first + coresPerNode - 1)"
      }
      return NodeSpec(
        id: node, cpus: ranges.joined(separator: ","), memoryMiB: memoryMiB,
        distances: (0..<nodeCount).map { other in
          if other == node { return 10 }
          return other / nodesPerPackage == node / nodesPerPackage ? 12 : remoteDistance
        })
    }
    return MachineFixture(
      nodes: nodes,
      cores: (0..<coreCount).map { core in
        (0..<threadsPerCore).map { String(core + $0 * coreCount) }.joined(separator: ",")
      },
      packageOfCore: { $0 / (coresPerNode * nodesPerPackage) },
      online: "0-\(coreCount * threadsPerCore - 1)")
  }

  /// Writes the tree; it lives as long as what is returned.
  func write() throws -> TemporaryDirectory {
    let root = try TemporaryDirectory()
    var files = extra
    files["sys/devices/system/cpu/online"] = online
    for (index, core) in cores.enumerated() { describe(core: core, index: index, in: &files) }
    if hasNodes {
      files["sys/devices/system/node/online"] = nodes.map { String($0.id) }.joined(separator: ",")
      for node in nodes { describe(node, in: &files) }
    }
    files["proc/meminfo"] =
      "MemTotal: \(nodes.reduce(0) { $0 + $1.memoryMiB } * 1024) kB\n"
      + "MemFree: 1 kB\nMemAvailable:   \(availableMiB * 1024) kB"
    files["proc/self/status"] =
      "Name:\tsilica\n" + (cpusAllowed.map { "Cpus_allowed_list:\t\($0)\n" } ?? "")
      + (memoryNodesAllowed.map { "Mems_allowed_list:\t\($0)\n" } ?? "")
    for (path, text) in files {
      let url = root.url.appendingPathComponent(path)
      try FileManager.default.createDirectory(
        at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data("\(text)\n".utf8).write(to: url)
    }
    return root
  }

  private func describe(core: String, index: Int, in files: inout [String: String]) {
    for cpu in core.split(separator: ",") {
      let folder = "sys/devices/system/cpu/cpu\(cpu)"
      files["\(folder)/topology/core_cpus_list"] = core
      files["\(folder)/topology/physical_package_id"] = String(packageOfCore(index))
      let caches = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M")]
      for (place, cache) in caches.enumerated() {
        files["\(folder)/cache/index\(place)/level"] = cache.0
        files["\(folder)/cache/index\(place)/type"] = cache.1
        files["\(folder)/cache/index\(place)/size"] = cache.2
        files["\(folder)/cache/index\(place)/shared_cpu_list"] = core
      }
    }
  }

  private func describe(_ node: NodeSpec, in files: inout [String: String]) {
    let folder = "sys/devices/system/node/node\(node.id)"
    files["\(folder)/cpulist"] = node.cpus
    files["\(folder)/distance"] = node.distances.map(String.init).joined(separator: " ")
    files["\(folder)/meminfo"] =
      "Node \(node.id) MemTotal:       \(node.memoryMiB * 1024) kB\n"
      + "Node \(node.id) MemFree:        \(node.memoryMiB * 512) kB"
  }
}
