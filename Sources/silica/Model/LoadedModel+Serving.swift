// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Engine
import RPC
import Serving
import Step
import Text
import Topology

extension LoadedModel {
  /// The model with its text half, as a server needs it.
  func served(name: String?) throws -> ServedModel {
    ServedModel(
      name: name ?? Self.name(of: options.directory),
      architecture: checkpoint.configuration.architecture,
      tokenizer: try Tokenizer(directory: options.directory),
      defaultSampling: try defaultSampling(),
      endTokens: checkpoint.endTokenIDs.map { Int32($0) }, device: deviceSummary,
      engine: engine)
  }

  /// The last part of the folder's path.
  private static func name(of directory: String) -> String {
    directory.split(separator: "/").last.map(String.init) ?? directory
  }

  /// The sampling values of `generation_config.json`.
  private func defaultSampling() throws -> SamplingParameters {
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

  /// Whether the checkpoint says of itself that its weights are random.
  var isUntrained: Bool { checkpoint.configuration.isUntrained }
}

extension LoadedModel {
  /// A server for the model; `start` makes it listen.
  func server(
    at addresses: [Address], name: String? = nil, pollerCount: Int? = nil,
    limits: ServingLimits = ServingLimits()
  ) throws -> InferenceServer {
    let placement = Placement(topology: topology, deviceCount: 1, pollerCount: pollerCount)
    var configuration = ServerConfiguration(addresses: addresses)
    configuration.pollerCPUs = placement.pollers.map(\.cpus)
    return InferenceServer(
      configuration, model: try served(name: name), limits: limits,
      auxCPUs: placement.auxiliary.cpus)
  }
}
