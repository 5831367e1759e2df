// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Conformance
import Device
import Engine
import Executor
import Models
import Program
import Serving
import Step
import Support
import Synthetic
import Text
import Topology

/// A model with its engine running.
struct LoadedModel {
  /// Where it comes from.
  enum Origin {
    case checkpoint(Checkpoint)
    case synthetic(SyntheticModel)
    /// Random weights, no text.
    case shape(ModelShape)
  }

  let origin: Origin
  let weights: any WeightSource
  let program: Program
  let engine: Engine
  let topology: Topology
  let options: ModelOptions
  /// What it runs on, if on GPUs; shares their weights for as long as it is there.
  private let gpus: CUDADevices?
  /// From the first look at the files until the engine could step.
  let loadSeconds: Double

  /// Opens, checks and loads a checkpoint, or makes a model. Shows progress on a terminal.
  ///
  /// - Parameter givesAllLogits: whether every row of a step may give logits (`silica logits`).
  init(_ options: ModelOptions, givesAllLogits: Bool = false) throws {
    let start = Clock.nowNanoseconds
    let devices: DeviceFactory
    var gpus: CUDADevices?
    if let configuration = options.synthetic {
      let model = SyntheticModel(configuration)
      origin = .synthetic(model)
      program = model.program()
      weights = SyntheticWeights(for: program)
      devices = { _ in SyntheticDevice(model) }
    } else if let shape = options.shape {
      origin = .shape(shape)
      program = try shape.program()
      weights = ShapeWeights(program, storage: .bf16, seed: 1)
      gpus = try Self.gpus(options, model: { options.directory })
      devices = gpus?.factory ?? Self.hostFactory(options)
    } else {
      let checkpoint = try Checkpoint(directory: options.directory)
      origin = .checkpoint(checkpoint)
      program = try Model.program(for: checkpoint)
      weights = checkpoint
      gpus = try Self.gpus(options, model: { checkpoint.identity })
      devices = gpus?.factory ?? Self.hostFactory(options)
    }
    topology = try Topology.current()
    self.options = options
    var configuration = Self.configuration(options, program, givesAllLogits: givesAllLogits)
    try gpus?.configure(&configuration, program, weights)
    let line = LoadProgressLine()
    do {
      defer { line.finish() }
      engine = try Engine.start(
        program, from: weights, devices: devices,
        configuration: configuration, topology: topology, progress: line.update)
    }
    gpus?.share()
    self.gpus = gpus
    loadSeconds = Double(Clock.nowNanoseconds - start) / 1e9
    for note in engine.deviceNotes { Console.error("silica: \(note)\n") }
  }

  private static func configuration(
    _ options: ModelOptions, _ program: Program, givesAllLogits: Bool
  ) -> EngineConfiguration {
    var configuration = EngineConfiguration()
    configuration.stages = stages(options, program)
    configuration.contextSlices = options.contextSlices
    configuration.threadsPerDevice = options.threads
    configuration.batchMax = options.batchMax
    configuration.rowCountMax = options.prefillChunk ?? configuration.rowCountMax
    if givesAllLogits {
      configuration.outputCountMax = max(configuration.rowCountMax, configuration.batchMax)
    }
    configuration.contextLength = options.contextLength
    configuration.kvMemoryBytes = options.kvMemoryBytes
    if options.device == .cpu, options.synthetic == nil {
      configuration.cacheBytesPerToken =
        program.cacheWidth * options.cpuConfiguration.cacheElementBytes
    }
    configuration.waitingSequencesMax = options.waitingMax ?? configuration.waitingSequencesMax
    return configuration
  }

  /// A model is cut between layers, so there are no more stages than those.
  static func stages(_ options: ModelOptions, _ program: Program) -> Int {
    let stages = min(options.stages, program.layers.count)
    if stages < options.stages {
      Console.error(
        "silica: note: the model has \(program.layers.count) layers; running \(stages) stages, "
          + "not \(options.stages)\n")
    }
    return stages
  }

  /// The GPUs that were asked for. `model` tells its weights from others', if they are shared.
  private static func gpus(
    _ options: ModelOptions, model: () -> String
  ) throws -> CUDADevices? {
    guard case .cuda(let gpu) = options.device else { return nil }
    return try CUDADevices(gpu, options, model: model)
  }

  private static func hostFactory(_ options: ModelOptions) -> DeviceFactory {
    if options.device == .reference { return { _ in ReferenceDevice() } }
    return { (seat) throws(DeviceError) in
      var configuration = options.cpuConfiguration
      configuration.threadCount = seat.cpus.count
      configuration.cpus = seat.cpus
      return try CPUDevice(configuration)
    }
  }

  /// What the engine's devices say of themselves, each once.
  var deviceSummary: String {
    var seen = Set<String>()
    return engine.load().executors.map(\.device).filter { seen.insert($0).inserted }
      .joined(separator: "; ")
  }
}
