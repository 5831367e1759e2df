// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import Topology

/// Where threads go on machines of every shape.
struct PlacementTests {
  private func read(_ machine: MachineFixture) throws -> Topology {
    let root = try machine.write()
    return try Topology.read(root: root.path)
  }

  @Test func aSmallMachineGivesAllCoresToComputeAndFrontEnd() throws {
    let placement = Placement(
      topology: try read(.uniform(nodes: 1, coresPerNode: 2)), deviceCount: 1)
    #expect(placement.executors.map(\.cpus) == [[0, 1]])
    #expect(placement.engine.cpus == [0, 1])
    #expect(placement.pollers.map(\.cpus) == [[0, 1]])
  }

  @Test func aLargeNodeKeepsOneCoreForTheFrontEnd() throws {
    let topology = try read(.uniform(nodes: 2, coresPerNode: 8, threadsPerCore: 2))
    let placement = Placement(topology: topology, deviceCount: 2)
    #expect(placement.executors.map(\.node) == [0, 1])
    #expect(placement.executors.map(\.cpus) == [Array(0..<7), Array(8..<15)])
    #expect(placement.engine.cpus == [7, 23])
    #expect(placement.pollers.map(\.cpus) == [[7, 23], [15, 31]])
  }

  @Test func oneDeviceStaysOnOneNode() throws {
    let placement = Placement(
      topology: try read(.uniform(nodes: 2, coresPerNode: 4)), deviceCount: 1)
    #expect(placement.executors.map(\.cpus) == [[0, 1, 2, 3]])
  }

  @Test func stagesAreSharedOutByCores() throws {
    let topology = try read(.uniform(nodes: 4, coresPerNode: 4))
    let placement = Placement(topology: topology, deviceCount: 8)
    #expect(placement.executors.map(\.node) == [0, 0, 1, 1, 2, 2, 3, 3])
    #expect(placement.executors[3].cpus == [6, 7])
    #expect(Placement(topology: topology, deviceCount: 5).executors.map(\.node) == [0, 0, 1, 2, 3])
  }

  @Test func aNodeThatIsMostlyTakenAwayGetsNoDevice() throws {
    var machine = MachineFixture.uniform(nodes: 2, coresPerNode: 16)
    machine.cpusAllowed = "0-1,16-31"
    let placement = Placement(
      topology: try read(machine), deviceCount: 2)
    #expect(placement.executors.map(\.node) == [1, 1])
  }

  @Test func nodesWithoutCPUsGetNoThreads() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 4)
    machine.nodes[0].distances = [10, 50]
    machine.nodes.append(.init(id: 1, cpus: "", memoryMiB: 1024, distances: [50, 10]))
    let placement = Placement(
      topology: try read(machine), deviceCount: 2)
    #expect(placement.executors.map(\.node) == [0, 0])
    #expect(placement.pollers.count == 1)
  }

  @Test func moreDevicesThanCoresTakeTurns() throws {
    let placement = Placement(
      topology: try read(.uniform(nodes: 1, coresPerNode: 2)), deviceCount: 5)
    #expect(placement.executors.map(\.cpus) == [[0], [1], [0], [1], [0]])
  }

  @Test func moreThreadsThanCoresUseSiblingsButNoCPUTwice() throws {
    let topology = try read(.uniform(nodes: 1, coresPerNode: 4, threadsPerCore: 2))
    let six = Placement(topology: topology, deviceCount: 1, threadsPerDevice: 6)
    #expect(six.executors[0].cpus == [0, 1, 2, 3, 4, 5])
    let many = Placement(topology: topology, deviceCount: 1, threadsPerDevice: 100)
    #expect(many.executors[0].cpus == Array(0..<8))
    let one = Placement(topology: topology, deviceCount: 2, threadsPerDevice: 1)
    #expect(one.executors.map(\.cpus) == [[0], [2]])
  }

  @Test func aCPUQuotaLimitsThreads() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 16)
    machine.extra = ["sys/fs/cgroup/cpu.max": "400000 100000"]
    let topology = try read(machine)
    #expect(Placement(topology: topology, deviceCount: 1).executors[0].cpus.count == 4)
    #expect(Placement(topology: topology, deviceCount: 8).executors.map(\.cpus.count).max() == 1)
  }

  @Test func everyDeviceHasACPUOnItsNodeWhateverTheMachine() throws {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<300 {
      let topology = machine(
        nodes: .random(in: 1...6, using: &random), coresPerNode: .random(in: 1...9, using: &random),
        threadsPerCore: .random(in: 1...2, using: &random))
      let count = Int.random(in: 1...12, using: &random)
      let placement = Placement(topology: topology, deviceCount: count)
      #expect(placement.executors.count == count)
      for seat in placement.executors {
        let node = try #require(topology.node(seat.node))
        #expect(!seat.cpus.isEmpty && Set(seat.cpus).isSubset(of: node.cpus))
        #expect(Set(seat.cpus).count == seat.cpus.count)
      }
    }
  }

  private func machine(nodes nodeCount: Int, coresPerNode: Int, threadsPerCore: Int) -> Topology {
    let cpus = (0..<nodeCount * coresPerNode * threadsPerCore).map { id in
      CPU(
        id: id, node: id / (coresPerNode * threadsPerCore), package: 0,
        core: id / threadsPerCore * threadsPerCore, caches: [])
    }
    let nodes = (0..<nodeCount).map { node in
      Node(
        id: node, cpus: cpus.filter { $0.node == node }.map(\.id), memoryBytes: 1 << 30,
        freeMemoryBytes: 1 << 30, distances: Array(repeating: 10, count: nodeCount))
    }
    return Topology(nodes: nodes, cpus: cpus, availableMemoryBytes: 1 << 30)
  }
}
