// SPDX-License-Identifier: Apache-2.0

/// Which CPUs each of the process's threads runs on. Plain data, decided once at start.
///
/// A device and all that serves it sit on one node. Compute threads get physical cores first, each
/// its own. On a node with many cores one core is kept free of compute, for the engine and the
/// pollers; on a small node these run wherever they find time.
package struct Placement: Hashable, Sendable {
  /// Cores of a node from which one is kept for the engine and the pollers.
  package static let coresForFrontEndMin = 8

  /// A thread, or several, on the CPUs of a node.
  package struct Seat: Hashable, Sendable {
    package var node: Int
    /// Where it may run.
    package var cpus: [Int]

    package init(node: Int, cpus: [Int]) {
      self.node = node
      self.cpus = cpus
    }
  }

  /// For each device, the CPUs of its compute threads: the executor's own first, then one for each
  /// further worker.
  package var executors: [Seat]
  package var engine: Seat
  /// One for each node with CPUs, or as many as asked for.
  package var pollers: [Seat]
  /// Anywhere: tokenising, logging.
  package var auxiliary: Seat

  /// Places the threads of `deviceCount` devices.
  ///
  /// - Parameters:
  ///   - threadsPerDevice: compute threads of each device; nil takes its share of physical cores.
  ///     More than its cores use hardware siblings too, never two threads on one CPU.
  ///   - pollerCount: nil is one for each node with CPUs.
  package init(
    topology: Topology, deviceCount: Int, threadsPerDevice: Int? = nil, pollerCount: Int? = nil
  ) {
    let homes = NodeCores.all(of: topology)
    let counts = Self.share(deviceCount, by: homes.map(\.compute.count))
    let limit = Self.quotaShare(topology, deviceCount: deviceCount)
    var executors: [Seat] = []
    for (home, count) in zip(homes, counts) {
      for index in 0..<count {
        let cores = home.computeCores(of: index, among: count)
        let wanted = max(1, threadsPerDevice ?? min(cores.count, limit))
        executors.append(Seat(node: home.node, cpus: Self.cpus(of: cores, count: wanted)))
      }
    }
    let engineHome = homes.first { $0.node == executors.first?.node } ?? homes[0]
    self.executors = executors
    engine = engineHome.frontSeat
    pollers = (0..<(pollerCount ?? homes.count)).map { homes[$0 % homes.count].frontSeat }
    auxiliary = Seat(node: engineHome.node, cpus: topology.cpus.map(\.id))
  }

  /// Splits `count` in proportion to `weights`, by largest remainder; earlier entries win ties.
  static func share(_ count: Int, by weights: [Int]) -> [Int] {
    let total = weights.reduce(0, +)
    var shares = weights.map { count * $0 / total }
    let byRemainder = weights.indices.sorted {
      let (left, right) = (count * weights[$0] % total, count * weights[$1] % total)
      return left == right ? $0 < $1 : left > right
    }
    for index in byRemainder.prefix(count - shares.reduce(0, +)) { shares[index] += 1 }
    return shares
  }

  /// Compute threads of one device that the cgroup's CPU time can feed.
  private static func quotaShare(_ topology: Topology, deviceCount: Int) -> Int {
    guard let quota = topology.cpuQuota else { return .max }
    return max(1, Int(quota) / max(1, deviceCount))
  }

  /// The first hardware thread of each core, then the second of each, and so on.
  private static func cpus(of cores: [Core], count: Int) -> [Int] {
    let depth = cores.map(\.cpus.count).max() ?? 0
    let order = (0..<depth).flatMap { level in
      cores.compactMap { level < $0.cpus.count ? $0.cpus[level] : nil }
    }
    return Array(order.prefix(count))
  }
}

/// The cores of one node, split between compute and front end.
private struct NodeCores {
  let node: Int
  let compute: [Core]
  /// Where engine and pollers run: the kept core, or every CPU of a small node.
  let frontSeat: Placement.Seat

  static func all(of topology: Topology) -> [NodeCores] {
    let byNode = Dictionary(grouping: topology.cores, by: \.node)
    return byNode.keys.sorted().map { NodeCores(node: $0, cores: byNode[$0] ?? []) }
  }

  private init(node: Int, cores: [Core]) {
    self.node = node
    let keepsOne = cores.count >= Placement.coresForFrontEndMin
    compute = keepsOne ? cores.dropLast() : cores
    let front = keepsOne ? cores.suffix(1) : cores[...]
    frontSeat = Placement.Seat(node: node, cpus: front.flatMap(\.cpus).sorted())
  }

  /// The cores of device `index` among `count` devices on this node: neighbours, so that they share
  /// caches; with more devices than cores, one core each in turn.
  func computeCores(of index: Int, among count: Int) -> [Core] {
    guard count <= compute.count else { return [compute[index % compute.count]] }
    let start = index * compute.count / count
    return Array(compute[start..<(index + 1) * compute.count / count])
  }
}
