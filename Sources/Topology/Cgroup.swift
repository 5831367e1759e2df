// SPDX-License-Identifier: Apache-2.0

/// The limits of this process's control group, version 2 or 1. A value is nil without a limit.
struct Cgroup {
  let cpus: [Int]?
  let memoryNodes: [Int]?
  let cpuQuota: Double?
  let availableMemoryBytes: Int?

  init(tree: SystemTree) {
    let cpuset = CgroupFolder(tree, controller: "cpuset")
    cpus = cpuset.list(["cpuset.cpus.effective", "cpuset.effective_cpus"])
    memoryNodes = cpuset.list(["cpuset.mems.effective", "cpuset.effective_mems"])
    cpuQuota = CgroupFolder(tree, controller: "cpu").smallest { Self.quota($0, tree) }
    availableMemoryBytes = CgroupFolder(tree, controller: "memory")
      .smallest { Self.availableMemory($0, tree) }
  }

  private static func quota(_ folder: String, _ tree: SystemTree) -> Double? {
    if let words = tree.text("\(folder)/cpu.max")?.split(separator: " "), words.count == 2,
      let quota = Double(words[0]), let period = Double(words[1]), period > 0
    {
      return quota / period
    }
    guard let quota = tree.integer("\(folder)/cpu.cfs_quota_us"), quota > 0,
      let period = tree.integer("\(folder)/cpu.cfs_period_us"), period > 0
    else { return nil }
    return Double(quota) / Double(period)
  }

  private static func availableMemory(_ folder: String, _ tree: SystemTree) -> Int? {
    if let limit = tree.integer("\(folder)/memory.max") {
      return max(0, limit - (tree.integer("\(folder)/memory.current") ?? 0))
    }
    guard let limit = tree.integer("\(folder)/memory.limit_in_bytes") else { return nil }
    return max(0, limit - (tree.integer("\(folder)/memory.usage_in_bytes") ?? 0))
  }
}

/// The folders that hold one controller's files for this process, innermost first. Limits of the
/// groups around count too; inside a container the process's own path may not be visible.
private struct CgroupFolder {
  let tree: SystemTree
  let folders: [String]

  init(_ tree: SystemTree, controller: String) {
    self.tree = tree
    var base = "sys/fs/cgroup"
    var path = "/"
    for line in tree.lines("proc/self/cgroup") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      if fields[1].split(separator: ",").contains(Substring(controller)) {
        (base, path) = ("sys/fs/cgroup/\(controller)", String(fields[2]))
        break
      }
      if fields[0] == "0" { path = String(fields[2]) }
    }
    var parts = path.split(separator: "/")
    var folders: [String] = []
    while !parts.isEmpty {
      folders.append(([Substring(base)] + parts).joined(separator: "/"))
      parts.removeLast()
    }
    self.folders = folders + [base]
  }

  /// The first of these files that holds a list of at least one number.
  func list(_ names: [String]) -> [Int]? {
    for folder in folders {
      for name in names {
        if let list = tree.list("\(folder)/\(name)"), !list.isEmpty { return list }
      }
    }
    return nil
  }

  func smallest<Value: Comparable>(_ value: (String) -> Value?) -> Value? {
    folders.compactMap(value).min()
  }
}
