// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Device
import Engine
import Glibc
import Messages
import Models
import RPC
import Serving
import Step
import Support
import Synchronization
import TestSupport
import Testing
import Text
import Topology

/// A server of the bundled model on a free loopback port, with a channel to it.
///
/// All stops when the last reference goes, or at `stop`.
final class TestServer: Sendable {
  static let contextLength = 512
  static let directory = Repository.path("Models/tiny-deepseek-v3")

  let gate = GatedDevice.Gate()
  let model: ServedModel
  let server: InferenceServer
  let channel: Channel
  let address: Address
  private let isStopped = Mutex(false)

  var engine: Engine { model.engine }

  init(
    tokenizer: Tokenizer? = nil, limits: ServingLimits = ServingLimits(), pollerCount: Int = 1,
    access: AccessControl? = nil, _ configure: (inout EngineConfiguration) -> Void = { _ in }
  ) throws {
    model = try Self.model(gate: gate, tokenizer: tokenizer, configure)
    var configuration = ServerConfiguration(addresses: [Address(host: "127.0.0.1", port: 0)])
    configuration.pollerCPUs = Array(repeating: [], count: pollerCount)
    server = InferenceServer(
      configuration, model: model, limits: limits, access: access, auxCPUs: [])
    try server.start()
    address = server.addresses[0]
    channel = Self.channel(to: address)
  }

  private static func model(
    gate: GatedDevice.Gate, tokenizer: Tokenizer?, _ configure: (inout EngineConfiguration) -> Void
  ) throws -> ServedModel {
    let checkpoint = try Checkpoint(directory: directory)
    var configuration = EngineConfiguration()
    configuration.contextLength = contextLength
    configure(&configuration)
    let engine = try Engine.start(
      try Model.program(for: checkpoint), from: checkpoint,
      devices: { _ throws(DeviceError) in GatedDevice(gate) }, configuration: configuration,
      topology: Topology.current())
    var sampling = SamplingParameters()
    sampling.temperature = 0.6
    sampling.topP = 0.95
    return ServedModel(
      name: "tiny", architecture: checkpoint.configuration.architecture,
      tokenizer: try tokenizer ?? Tokenizer(directory: directory), defaultSampling: sampling,
      endTokens: [1], device: "gated", engine: engine)
  }

  /// One more connection; stop its poller.
  static func channel(to address: Address, limits: RPCLimits = RPCLimits()) -> Channel {
    Channel(to: address, poller: Poller(name: "client"), limits: limits)
  }

  deinit { stop() }

  /// Stops the server, then the engine and the channel.
  func stop(grace: Duration = .zero) {
    let isFirst = isStopped.withLock { isStopped in
      defer { isStopped = true }
      return !isStopped
    }
    guard isFirst else { return }
    server.stop(grace: grace)
    gate.release()
    model.engine.shutdown()
    channel.poller.stop()
  }

  /// What the server counts.
  func statistics(token: String? = nil) throws -> Silica_V1_GetStatisticsResponse {
    let answer = try exchange(
      Silica_V1_Inference.getStatistics, Silica_V1_GetStatisticsRequest(), token: token)
    return try #require(answer.responses.first)
  }

  /// Whether nothing of any generation is left: no sequence, no cache block, no call.
  var isQuiet: Bool {
    let load = engine.load()
    return load.running == 0 && load.waiting == 0 && load.paused == 0 && load.kvBlocksUsed == 0
      && server.activeCallCount == 0
  }
}

/// Waits for what other threads do; false after `seconds`.
func eventually(seconds: Double = 20, _ condition: () -> Bool) -> Bool {
  let end = Clock.nowNanoseconds + UInt64(seconds * 1e9)
  while !condition() {
    guard Clock.nowNanoseconds < end else { return false }
    usleep(1_000)
  }
  return true
}

/// A deadline on `Clock` for calls, so that no test can hang.
func testDeadline(seconds: Double = 30) -> UInt64 {
  Clock.nowNanoseconds + UInt64(seconds * 1e9)
}

/// The metadata that carries an API token; none if nil.
func bearer(_ token: String?) throws -> Metadata {
  var metadata = Metadata()
  if let token { try metadata.append("authorization", "Bearer \(token)") }
  return metadata
}
