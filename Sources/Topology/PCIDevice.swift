// SPDX-License-Identifier: Apache-2.0

/// What the system knows of a device on a PCI bus.
package enum PCIDevice {
  /// The NUMA node that a device is linked to; nil if the system does not say.
  ///
  /// - Parameter address: as in "0000:17:00.0".
  package static func node(_ address: String, root: String = "/") -> Int? {
    let isAddress = address.allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." }
    guard isAddress else { return nil }
    let tree = SystemTree(root: root)
    guard let node = tree.integer("sys/bus/pci/devices/\(address)/numa_node"), node >= 0 else {
      return nil
    }
    return node
  }
}
