// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Conformance
import Engine
import RPC
import Serving
import Step
import Synthetic
import Text
import Topology

extension LoadedModel {
  /// The model with its text half, as a server needs it.
  func served(name: String?) throws -> ServedModel {
    switch origin {
    case .checkpoint(let checkpoint):
      ServedModel(
        name: name ?? Self.name(of: options.directory),
        architecture: checkpoint.configuration.architecture,
        tokenizer: try Tokenizer(directory: options.directory),
        defaultSampling: try defaultSampling(checkpoint),
        endTokens: checkpoint.endTokenIDs.map { Int32($0) }, device: deviceSummary,
        engine: engine)
    case .synthetic(let model):
      ServedModel(
        name: name ?? SyntheticOptions.name, architecture: SyntheticModel.architecture,
        tokenizer: try model.tokenizer(), defaultSampling: Self.greedySampling, endTokens: [],
        device: deviceSummary, engine: engine)
    case .shape(let shape):
      throw CommandError(
        "--model \(ModelShape.prefix)\(shape.name) has no text; it is for bench, profile and verify"
      )
    }
  }

  /// A synthetic model's default: it has no distribution to draw from.
  private static var greedySampling: SamplingParameters {
    var sampling = SamplingParameters()
    sampling.temperature = 0
    return sampling
  }

  /// The last part of the folder's path.
  private static func name(of directory: String) -> String {
    directory.split(separator: "/").last.map(String.init) ?? directory
  }

  /// The sampling values of `generation_config.json`.
  private func defaultSampling(_ checkpoint: Checkpoint) throws -> SamplingParameters {
    var sampling = SamplingParameters()
    let stored = checkpoint.generationDefaults
    if let temperature = stored.temperature { sampling.temperature = Float(temperature) }
    if let topP = stored.topP { sampling.topP = Float(topP) }
    if let topK = stored.topK { sampling.topK = topK }
    if let minP = stored.minP { sampling.minP = Float(minP) }
    if let penalty = stored.repetitionPenalty { sampling.repetitionPenalty = Float(penalty) }
    try sampling.validate(vocabularyCount: engine.vocabularySize)
    return sampling
  }

  /// What a person should know who sees its text; nil for a trained model.
  var note: String? {
    switch origin {
    case .checkpoint(let checkpoint) where checkpoint.configuration.isUntrained:
      "this checkpoint is untrained; its text means nothing"
    case .checkpoint: nil
    case .synthetic: "this model is synthetic; its text means nothing"
    case .shape: "this model's weights are random"
    }
  }
}

extension LoadedModel {
  /// A server for the model; `start` makes it listen.
  func server(
    _ configuration: ServerConfiguration, name: String? = nil, pollerCount: Int? = nil,
    limits: ServingLimits = ServingLimits(), access: AccessControl? = nil
  ) throws -> InferenceServer {
    let placement = Placement(topology: topology, deviceCount: 1, pollerCount: pollerCount)
    var configuration = configuration
    configuration.pollerCPUs = placement.pollers.map(\.cpus)
    return InferenceServer(
      configuration, model: try served(name: name), limits: limits, access: access,
      auxCPUs: placement.auxiliary.cpus)
  }
}
