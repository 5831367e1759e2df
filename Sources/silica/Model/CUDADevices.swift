// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import CUDADriver
import Conformance
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
  private let cachePrecision: CUDACachePrecision
  private let expansion: CUDAExpansion?
  private let hostMemory: HostMemoryBudget?
  /// With other processes.
  private let sharing: (share: WeightShare, model: String)?

  /// Throws if there is no driver, no such GPU, less of the host's memory free than GPUs may take,
  /// or something else at the path to share weights at.
  init(_ gpu: Int?, _ options: ModelOptions, model: () -> String) throws {
    let driver = try CUDADriver()
    precision = options.cudaPrecision
    cachePrecision = options.cudaCachePrecision
    expansion = options.expansion
    hostMemory = try Self.hostMemory(options)
    sharing = try Self.sharing(options, model: model)
    let deviceCount = options.stages * options.contextSlices
    gpus = gpu.map { [$0] } ?? Array(0..<min(driver.gpuCount, deviceCount))
    var bytes = 0
    for index in gpus { bytes += try GPU(driver, index: index).freeBytes() }
    freeBytes = bytes
  }

  /// Makes a device on its executor's thread, which moves to the node of the GPU's link.
  var factory: DeviceFactory {
    let (gpus, precision, cachePrecision) = (gpus, precision, cachePrecision)
    let (expansion, hostMemory, sharing) = (expansion, hostMemory, sharing)
    return { (seat) throws(DeviceError) in
      let device = try CUDADevice(
        CUDADeviceConfiguration(
          gpu: gpus[seat.index % gpus.count], precision: precision,
          cachePrecision: cachePrecision, expansion: expansion, hostMemory: hostMemory,
          sharing: sharing))
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

  private static func sharing(
    _ options: ModelOptions, model: () -> String
  ) throws -> (share: WeightShare, model: String)? {
    guard let path = options.shareWeightsPath else { return nil }
    let share: WeightShare
    do { share = try WeightShare(path: path) } catch {
      throw CommandError("--share-weights: \(error.message)")
    }
    if !share.loads { Console.error("silica: taking the weights that are shared at \(path)\n") }
    return (share, model())
  }

  /// Answers other processes from now on, if weights are shared and loaded here.
  func share() { sharing?.share.serve() }

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
    configuration.cacheBytesPerToken = CUDABudget.cacheBytesPerToken(program, cachePrecision)
    guard configuration.kvMemoryBytes == nil else { return }
    let outputs = configuration.outputCountMax ?? configuration.batchMax
    let capacity = DeviceCapacity(
      rowCountMax: configuration.rowCountMax, outputCountMax: outputs, blockCount: 0,
      blockTokens: configuration.blockTokens)
    let budget = try CUDABudget(
      program, from: weights, precision: precision, expansion: expansion, capacity: capacity)
    configuration.kvMemoryBytes = budget.cacheBytes(
      freeBytes: freeBytes, gpuCount: gpus.count,
      deviceCount: configuration.stages * configuration.contextSlices,
      handoffBytes: try Self.handoffBytes(configuration, program)
        + Self.sliceBytes(configuration, program),
      sharing: sharing.map { $0.share.loads ? .loads : .takes } ?? .none)
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

  /// What followers of context slices leave for their leader: outputs and log-sum-exps.
  private static func sliceBytes(
    _ configuration: EngineConfiguration, _ program: Program
  ) -> Int {
    guard configuration.contextSlices > 1 else { return 0 }
    let columns = ContextSlicing(program).merges.map { $0.heads * ($0.width + 1) }
    return configuration.stages * (configuration.contextSlices - 1) * configuration.rowCountMax
      * (columns.max() ?? 0) * MemoryLayout<Float>.stride
  }
}
