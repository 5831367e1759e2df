// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Support
import Wire

/// A client of one server, for tests that act between frames. It blocks its thread.
final class InferenceClient {
  private let poller = Poller(name: "test-client")
  private let channel: Channel

  init(_ server: RunningServer, _ credentials: ChannelCredentials = .insecure) {
    channel = Channel(to: server.address, poller: poller, credentials: credentials)
  }

  deinit { poller.stop() }

  /// Opens a session that ends after `deadline` seconds at the latest.
  func session(deadline: Int = 60) throws -> Session {
    Session(try open(Silica_V1_Inference.session.path, deadline: deadline), of: self)
  }

  /// Watches the server's health for a minute at most.
  func watchHealth() throws -> HealthWatch {
    try HealthWatch(try open(Grpc_Health_V1_Health.watch.path, deadline: 60), of: self)
  }

  /// What the server says of its model.
  func model() throws -> Silica_V1_GetModelResponse {
    let call = try open(Silica_V1_Inference.getModel.path, deadline: 60)
    try call.send(Silica_V1_GetModelRequest().encoded())
    guard let bytes = try call.receive() else {
      throw RunningServer.Failure(description: "\(try call.finish().status)")
    }
    return try Silica_V1_GetModelResponse(decoding: bytes)
  }

  /// Greedy token ids after a prompt, `count` of them.
  func greedy(_ prompt: [Int32], count: Int) throws -> [Int32] {
    var request = Silica_V1_GenerateRequest()
    request.start = .greedy(prompt, count: count)
    let call = try open(Silica_V1_Inference.generate.path, deadline: 60)
    try call.send(request.encoded())
    var ids: [Int32] = []
    while let bytes = try call.receive() {
      let event = try Silica_V1_GenerateResponse(decoding: bytes).event
      if case .delta(let delta) = event { ids += delta.tokenIds.map { Int32($0) } }
    }
    let status = try call.finish().status
    guard status.code == .ok else { throw RunningServer.Failure(description: "\(status)") }
    return ids
  }

  /// Begins a call that may take this many seconds.
  private func open(_ path: String, deadline: Int) throws -> BlockingCall {
    try BlockingCall(
      on: channel, path: path,
      deadline: Clock.nowNanoseconds + UInt64(deadline) * 1_000_000_000)
  }
}

/// One `Session` call. It ends when the last reference goes.
final class Session {
  private let call: BlockingCall
  /// Kept, as it has the call's thread.
  private let client: InferenceClient

  init(_ call: BlockingCall, of client: InferenceClient) {
    self.call = call
    self.client = client
  }

  deinit { try? call.cancel() }

  func start(_ generation: UInt32, _ start: Silica_V1_Start) throws {
    var frame = Silica_V1_ClientFrame()
    frame.generation = generation
    frame.frame = .start(start)
    try call.send(frame.encoded())
  }

  /// No more frames will be sent.
  func sendEnd() throws { try call.sendEnd() }

  /// The next frame; nil when the server sends no more.
  func receive() throws -> Silica_V1_ServerFrame? {
    try call.receive().map { try Silica_V1_ServerFrame(decoding: $0) }
  }

  /// Reads until the first text of a generation.
  func waitForDelta(of generation: UInt32) throws {
    while let frame = try receive() {
      if case .delta = frame.frame, frame.generation == generation { return }
    }
    throw RunningServer.Failure(description: "the stream ended: \(try call.finish().status)")
  }

  /// The token ids of each generation, to the end of the stream. Throws if anything fails.
  func receiveAll() throws -> [UInt32: [Int32]] {
    var ids: [UInt32: [Int32]] = [:]
    while let frame = try receive() {
      switch frame.frame {
      case .delta(let delta): ids[frame.generation, default: []] += delta.tokenIds.map { Int32($0) }
      case .failed(let failed): throw RunningServer.Failure(description: failed.status.message)
      default: break
      }
    }
    let status = try finish()
    guard status.code == .ok else { throw RunningServer.Failure(description: "\(status)") }
    return ids
  }

  func finish() throws -> Status { try call.finish().status }
}

extension Silica_V1_Start {
  /// Greedy, from token ids, to exactly `count` tokens.
  static func greedy(_ prompt: [Int32], count: Int) -> Silica_V1_Start {
    var start = Silica_V1_Start()
    start.input = .tokenIds(.with { $0.ids = prompt.map { UInt32($0) } })
    start.sampling.temperature = 0
    start.stopping.maxTokens = UInt32(count)
    start.stopping.ignoreEos = true
    return start
  }
}

/// One `Watch` call of the health service, for the whole server. It ends when the last reference
/// goes.
final class HealthWatch {
  private let call: BlockingCall
  /// Kept, as it has the call's thread.
  private let client: InferenceClient

  init(_ call: BlockingCall, of client: InferenceClient) throws {
    self.call = call
    self.client = client
    try call.send(Grpc_Health_V1_HealthCheckRequest().encoded())
    try call.sendEnd()
  }

  deinit { try? call.cancel() }

  /// The next change, or the first status; nil when the server says no more.
  func next() throws -> Grpc_Health_V1_HealthCheckResponse.ServingStatus? {
    try call.receive().map { try Grpc_Health_V1_HealthCheckResponse(decoding: $0).status }
  }
}
