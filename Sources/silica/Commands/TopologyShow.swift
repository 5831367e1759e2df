// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Support
import Topology

/// `silica topology`.
enum TopologyShow: Subcommand {
  static let name = "topology"
  static let summary = "show the machine: nodes, cores, memory, distances, devices"

  static let options = [
    Option("--root", "DIR", "read this tree instead of the machine's /", default: "/"),
    Option("--format", "NAME", "table or json", default: "table"),
  ]

  static let discussion = """
    Shows what this process may use: CPUs outside its affinity or its cgroup's cpuset are left out.

    example:
      silica topology --format json
    """

  static func run(_ arguments: Arguments) throws {
    let topology = try MachineTopology.read(arguments)
    let format = try arguments.choice("--format", of: ["table", "json"]) ?? "table"
    if format == "json" {
      Console.out(MachineTopology.json(topology).description + "\n")
      return
    }
    var nodes = Table(header: ["node", "cpus", "cores", "memory", "free", "distances"])
    for node in topology.nodes {
      nodes.rows.append([
        "\(node.id)", "\(node.cpus.count)",
        "\(topology.cores.filter { $0.node == node.id }.count)",
        ByteCount.text(node.memoryBytes), ByteCount.text(node.freeMemoryBytes),
        node.distances.map(String.init).joined(separator: " "),
      ])
    }
    Console.out(nodes.text)
    Console.out("\navailable memory: \(ByteCount.text(topology.availableMemoryBytes))\n")
    Console.out("devices: reference; cpu (\(MachineTopology.cpuLevels.joined(separator: ", ")))\n")
    for gpu in MachineTopology.gpus {
      let node = gpu.node.map { ", node \($0)" } ?? ""
      Console.out(
        "  \(gpu.name) (\(gpu.properties.name), "
          + "\(ByteCount.text(gpu.properties.memoryBytes))\(node))\n")
    }
    for note in topology.notes { Console.out("note: \(note)\n") }
  }
}
