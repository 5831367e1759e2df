// SPDX-License-Identifier: Apache-2.0

package import Device

/// Where in the machine and in the slice plan a device sits.
package struct DeviceSeat: Hashable, Sendable {
  /// Counts all devices of an engine from 0.
  package var index: Int
  package var stage: Int
  package var contextSlice: Int
  package var node: Int
  /// The CPUs of its compute threads: the executor's own first, then one for each worker. The
  /// executor's thread is pinned before the device is made.
  package var cpus: [Int]

  package init(index: Int, stage: Int, contextSlice: Int, node: Int, cpus: [Int]) {
    self.index = index
    self.stage = stage
    self.contextSlice = contextSlice
    self.node = node
    self.cpus = cpus
  }
}

/// Makes the device of a seat; called once for each seat, on its executor's thread.
package typealias DeviceFactory = @Sendable (DeviceSeat) throws(DeviceError) -> any Device
