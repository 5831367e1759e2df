// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADriver
import Support
import Topology

/// The machine that a subcommand is asked about.
enum MachineTopology {
  /// This machine, or the tree that `--root` names.
  static func read(_ arguments: Arguments, option: String = "--root") throws -> Topology {
    guard let root = arguments.string(option) else { return try Topology.current() }
    return try Topology.read(root: root)
  }

  /// The instruction sets that the CPU device can use on this machine, best last.
  static var cpuLevels: [String] { CPULevel.available.map(\.rawValue) }

  /// A GPU and the node that it is linked to, where the system says.
  struct GPU {
    let properties: GPUProperties
    let node: Int?

    var name: String { "cuda:\(properties.index)" }

    var json: JSON {
      [
        "device": .string(name), "name": .string(properties.name),
        "memory_bytes": .integer(properties.memoryBytes),
        "compute_capability": .integer(properties.capability),
        "multiprocessors": .integer(properties.multiprocessors),
        "pci_address": .string(properties.pciAddress),
        "node": node.map { .integer($0) } ?? .null,
      ]
    }
  }

  /// The GPUs that the driver shows; none without a driver.
  static var gpus: [GPU] {
    guard let driver = try? CUDADriver() else { return [] }
    return (0..<driver.gpuCount).compactMap { index in
      guard let properties = try? driver.properties(of: index) else { return nil }
      return GPU(properties: properties, node: PCIDevice.node(properties.pciAddress))
    }
  }

  static func json(_ topology: Topology) -> JSON {
    let nodes = topology.nodes.map { node -> JSON in
      [
        "id": .integer(node.id), "cpus": .array(node.cpus.map { .integer($0) }),
        "memory_bytes": .integer(node.memoryBytes),
        "free_memory_bytes": .integer(node.freeMemoryBytes),
        "distances": .array(node.distances.map { .integer($0) }),
      ]
    }
    let cores = topology.cores.map { core -> JSON in
      [
        "id": .integer(core.id), "node": .integer(core.node),
        "cpus": .array(core.cpus.map { .integer($0) }),
      ]
    }
    return [
      "nodes": .array(nodes), "cores": .array(cores),
      "available_memory_bytes": .integer(topology.availableMemoryBytes),
      "devices": [
        "reference": true, "cpu_levels": .array(cpuLevels.map { .string($0) }),
        "cuda": .array(gpus.map(\.json)),
      ],
      "notes": .array(topology.notes.map { .string($0) }),
    ]
  }
}
