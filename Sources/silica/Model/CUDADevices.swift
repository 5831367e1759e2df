// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import CUDADriver
import Device
import Engine
import Executor
import Program
import Slicing
import Support
import Topology

/// The GPUs that a model runs on, looked at before anything is loaded.
struct CUDADevices {
  /// As the driver counts; devices take them by turns.
  private let gpus: [Int]
  private let freeBytes: Int
  private let precision: CUDAPrecision
  private let hostMemory: HostMemoryBudget?

  /// Throws if there is no driver, no such GPU, or less of the host's memory free than GPUs may
  /// take.
  init(_ gpu: Int?, _ options: ModelOptions) throws {
    let driver = try CUDADriver()
    precision = options.cudaPrecision
    hostMemory = try Self.hostMemory(options)
    let deviceCount = options.stages * options.contextSlices
    gpus = gpu.map { [$0] } ?? Array(0..<min(driver.gpuCount, deviceCount))
    var bytes = 0
    for index in gpus { bytes += try GPU(driver, index: index).freeBytes() }
    freeBytes = bytes
  }

  /// Makes a device on its executor's thread, which moves to the node of the GPU's link.
  var factory: DeviceFactory {
    let (gpus, precision, hostMemory) = (gpus, precision, hostMemory)
    return { (seat) throws(DeviceError) in
      let device = try CUDADevice(
        CUDADeviceConfiguration(
          gpu: gpus[seat.index % gpus.count], precision: precision, hostMemory: hostMemory))
      Self.moveThread(to: device.pciAddress)
      return device
    }
  }

  private static func hostMemory(_ options: ModelOptions) throws -> HostMemoryBudget? {
    guard let bytes = options.gpuOverflowBytes else { return nil }
    let free = try Topology.current().availableMemoryBytes
    guard bytes <= free else {
      throw CommandError(
        "--gpu-overflow is \(ByteCount.text(bytes)); the host has \(ByteCount.text(free)) of "
          + "memory free")
    }
    return HostMemoryBudget(byteCount: bytes)
  }

  private static func moveThread(to pciAddress: String) {
    guard let node = PCIDevice.node(pciAddress), let topology = try? Topology.current() else {
      return
    }
    PinnedThread.moveCurrent(to: topology.node(node)?.cpus ?? [])
    _ = NodeMemory.preferForThread(node: node)
  }

  /// What an engine needs to know: a thread for each device, and memory of the GPUs for keys and
  /// values.
  func configure(
    _ configuration: inout EngineConfiguration, _ program: Program, _ weights: any WeightSource
  ) throws {
    configuration.threadsPerDevice = 1
    configuration.cacheElementBytes = CUDABudget.cacheElementBytes
    guard configuration.kvMemoryBytes == nil else { return }
    let outputs = configuration.outputCountMax ?? configuration.batchMax
    let capacity = DeviceCapacity(
      rowCountMax: configuration.rowCountMax, outputCountMax: outputs, blockCount: 0,
      blockTokens: configuration.blockTokens)
    let budget = try CUDABudget(program, from: weights, precision: precision, capacity: capacity)
    configuration.kvMemoryBytes = budget.cacheBytes(
      freeBytes: freeBytes, gpuCount: gpus.count,
      deviceCount: configuration.stages * configuration.contextSlices,
      handoffBytes: try Self.handoffBytes(configuration, program))
  }

  /// What stages leave for each other on GPUs: a step's hidden values in each of the places of each
  /// border.
  private static func handoffBytes(
    _ configuration: EngineConfiguration, _ program: Program
  ) throws -> Int {
    guard configuration.stages > 1, program.layers.count > 1 else { return 0 }
    let hidden = try program.valueCrossing(program.layers[1].lowerBound)
    return (configuration.stages - 1) * configuration.stages * configuration.rowCountMax
      * program[hidden].width * MemoryLayout<Float>.stride
  }
}
