// SPDX-License-Identifier: Apache-2.0

import Support
import TestSupport
import Testing
import Topology

/// Reading machines from fixture trees.
struct TopologyTests {
  private func read(_ machine: MachineFixture, affinity: [Int]? = nil) throws -> Topology {
    let root = try machine.write()
    return try Topology.read(root: root.path, affinity: affinity)
  }

  @Test func aVirtualMachineIsOneNodeWithItsCPUs() throws {
    let topology = try read(.uniform(nodes: 1, coresPerNode: 2, memoryMiB: 24_000))
    #expect(topology.nodes.map(\.cpus) == [[0, 1]])
    #expect(topology.nodes[0].memoryBytes == 24_000 << 20)
    #expect(topology.nodes[0].freeMemoryBytes == 12_000 << 20)
    #expect(topology.availableMemoryBytes == 16_384 << 20)
    #expect(topology.cores.map(\.cpus) == [[0], [1]])
    #expect(topology.notes.isEmpty)
  }

  @Test func twoSocketsWithSiblingsHaveTheirCoresAndDistances() throws {
    let topology = try read(.uniform(nodes: 2, coresPerNode: 56, threadsPerCore: 2))
    #expect(topology.cpus.count == 224)
    #expect(topology.cores.count == 112)
    #expect(topology.cores[56].cpus == [56, 168])
    #expect(topology.cpus[168].core == 56)
    #expect(topology.cpus[168].node == 1)
    #expect(topology.cpus[168].package == 1)
    #expect(topology.distance(from: 0, to: 1) == 21)
    #expect(topology.distance(from: 1, to: 1) == 10)
  }

  @Test func cachesLeaveOutInstructionsAndNameTheirSharers() throws {
    let topology = try read(.uniform(nodes: 1, coresPerNode: 2, threadsPerCore: 2))
    let caches = topology.cpus[0].caches
    #expect(caches.map(\.level) == [1, 2])
    #expect(caches.map(\.sizeBytes) == [48 << 10, 2 << 20])
    #expect(caches[1].cpus == [0, 2])
  }

  @Test func fourNodesOfOneSocketAreNear() throws {
    let topology = try read(
      .uniform(nodes: 8, coresPerNode: 8, remoteDistance: 32, nodesPerPackage: 4))
    #expect(topology.nodes.count == 8)
    #expect(topology.distance(from: 0, to: 3) == 12)
    #expect(topology.distance(from: 0, to: 4) == 32)
    #expect(topology.cpus[63].package == 1)
  }

  @Test func aNodeOfMemoryAloneStaysWithoutCPUs() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 4)
    machine.nodes[0].distances = [10, 50]
    machine.nodes.append(.init(id: 1, cpus: "", memoryMiB: 262_144, distances: [50, 10]))
    let topology = try read(machine)
    #expect(topology.nodes[1].cpus.isEmpty)
    #expect(topology.nodes[1].memoryBytes == 262_144 << 20)
    #expect(topology.distance(from: 0, to: 1) == 50)
  }

  @Test func nodeIdsNeedNotFollowEachOther() throws {
    var machine = MachineFixture.uniform(nodes: 2, coresPerNode: 2)
    machine.nodes[1].id = 8
    let topology = try read(machine)
    #expect(topology.nodes.map(\.id) == [0, 8])
    #expect(topology.cpus[3].node == 8)
    #expect(topology.distance(from: 8, to: 0) == 21)
  }

  @Test func offlineCPUsDoNotAppear() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 4, threadsPerCore: 2)
    machine.online = "0-3,5-7"
    let topology = try read(machine)
    #expect(topology.cpus.map(\.id) == [0, 1, 2, 3, 5, 6, 7])
    #expect(topology.cores[0].cpus == [0])
    #expect(topology.cores[1].cpus == [1, 5])
  }

  @Test func affinityAndCpusetLimitCPUsAndMemoryNodes() throws {
    var machine = MachineFixture.uniform(nodes: 2, coresPerNode: 8)
    machine.cpusAllowed = "2-9"
    machine.memoryNodesAllowed = "0-1"
    machine.extra = [
      "proc/self/cgroup": "0::/pod/box",
      "sys/fs/cgroup/pod/box/cpuset.cpus.effective": "4-15",
      "sys/fs/cgroup/pod/box/cpuset.mems.effective": "1",
    ]
    let topology = try read(machine)
    #expect(topology.cpus.map(\.id) == [4, 5, 6, 7, 8, 9])
    #expect(topology.nodes.map(\.cpus) == [[4, 5, 6, 7], [8, 9]])
    #expect(topology.nodes.map(\.memoryIsAllowed) == [false, true])
    #expect(topology.notes == ["6 of 16 CPUs online may be used by this process"])
    #expect(try read(machine, affinity: [5, 40]).cpus.map(\.id) == [5])
  }

  @Test func limitsOfTheCgroupAndThoseAroundItCount() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 16)
    machine.extra = [
      "proc/self/cgroup": "0::/pod/box",
      "sys/fs/cgroup/pod/cpu.max": "250000 100000",
      "sys/fs/cgroup/pod/box/cpu.max": "max 100000",
      "sys/fs/cgroup/pod/box/memory.max": String(8 << 30),
      "sys/fs/cgroup/pod/box/memory.current": String(3 << 30),
    ]
    let topology = try read(machine)
    #expect(topology.cpuQuota == 2.5)
    #expect(topology.availableMemoryBytes == 5 << 30)
  }

  @Test func limitsOfCgroupVersion1AreRead() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 4)
    machine.extra = [
      "proc/self/cgroup": "4:memory:/a\n3:cpuset:/\n2:cpu,cpuacct:/b\n0::/",
      "sys/fs/cgroup/memory/a/memory.limit_in_bytes": String(1 << 30),
      "sys/fs/cgroup/memory/a/memory.usage_in_bytes": String(1 << 29),
      "sys/fs/cgroup/cpu/b/cpu.cfs_quota_us": "150000",
      "sys/fs/cgroup/cpu/b/cpu.cfs_period_us": "100000",
    ]
    let topology = try read(machine)
    #expect(topology.availableMemoryBytes == 1 << 29)
    #expect(topology.cpuQuota == 1.5)
  }

  @Test func aKernelWithoutNodesIsOneNode() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 3, memoryMiB: 1000)
    machine.hasNodes = false
    let topology = try read(machine)
    #expect(topology.nodes.map(\.cpus) == [[0, 1, 2]])
    #expect(topology.nodes[0].memoryBytes == 1000 << 20)
    #expect(
      topology.notes == ["the kernel describes no NUMA nodes: the machine is taken as one node"])
  }

  @Test func noUsableCPUIsAnError() throws {
    var machine = MachineFixture.uniform(nodes: 1, coresPerNode: 2)
    machine.cpusAllowed = "7"
    #expect(throws: TopologyError.self) { try read(machine) }
    let empty = try TemporaryDirectory()
    #expect(throws: TopologyError.self) { try Topology.read(root: empty.path) }
  }

  @Test func thisMachineIsRead() throws {
    let topology = try Topology.current()
    #expect(topology.cpus.map(\.id) == PinnedThread.currentCPUs)
    #expect(topology.availableMemoryBytes > 0)
  }
}
