// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Testing
import Wire

/// A client's side of one `Session` call, for one thread; it checks the numbers of all frames.
final class SessionClient {
  let call: BlockingCall
  /// The latest generation of each number.
  private(set) var transcripts: [UInt32: Transcript] = [:]
  private(set) var pongs: [UInt64] = []
  private(set) var goAways: [Silica_V1_GoAway] = []
  private(set) var loads: [Silica_V1_Load] = []
  /// Refusals about the whole stream.
  private(set) var streamFailures: [Silica_V1_Failed] = []
  private var frameCounts: [UInt32: UInt64] = [:]
  /// Lives at least as long as the call.
  private let server: TestServer

  /// On a connection of its own, or one that is given.
  init(_ server: TestServer, on channel: Channel? = nil, token: String? = nil) throws {
    self.server = server
    call = try BlockingCall(
      on: channel ?? server.channel, path: Silica_V1_Inference.session.path,
      metadata: try bearer(token), deadline: testDeadline())
  }

  deinit { try? call.cancel() }

  func start(_ key: UInt32, _ start: Silica_V1_Start) throws {
    let choiceCount = start.choiceCount
    if transcripts[key]?.isOver != false {
      transcripts[key] = Transcript(choiceCount: choiceCount)
      frameCounts[key] = 0
    }
    try send(key, .start(start))
  }

  func cancel(_ key: UInt32) throws { try send(key, .cancel(Silica_V1_Cancel())) }

  func ping(_ nonce: UInt64) throws { try send(0, .ping(.with { $0.nonce = nonce })) }

  func send(_ key: UInt32, _ content: Silica_V1_ClientFrame.OneOf_Frame?) throws {
    var frame = Silica_V1_ClientFrame()
    frame.generation = key
    frame.frame = content
    try call.send(frame.encoded())
  }

  /// Continues generation `key` of another client, whose stream may be broken, as `newKey`.
  func resume(_ key: UInt32, of other: SessionClient, as newKey: UInt32) throws {
    transcripts[newKey] = other.transcript(key)
    frameCounts[newKey] = other.frameCounts[key]
    try send(
      newKey,
      .resume(
        .with {
          $0.token = other.transcript(key).accepted?.resumeToken ?? ""
          $0.afterSequence = other.frameCounts[key] ?? 0
        }))
  }

  /// Resumes a generation of which nothing has arrived.
  func expect(generation key: UInt32, resuming token: String) throws {
    transcripts[key] = Transcript()
    frameCounts[key] = 0
    try send(key, .resume(.with { $0.token = token }))
  }

  func transcript(_ key: UInt32) -> Transcript { transcripts[key] ?? Transcript() }

  /// Reads until something holds, or the server sends no more; whether it holds.
  @discardableResult
  func read(until condition: (SessionClient) -> Bool) throws -> Bool {
    while !condition(self) {
      guard let bytes = try call.receive() else { return false }
      take(try Silica_V1_ServerFrame(decoding: bytes))
    }
    return true
  }

  /// Reads until generations have ended, and gives the last one.
  @discardableResult
  func finish(_ keys: UInt32...) throws -> Transcript {
    let isDone = try read { client in keys.allSatisfy { client.transcript($0).isOver } }
    #expect(isDone, "the stream ended before generations \(keys)")
    return transcript(keys[keys.count - 1])
  }

  /// Runs one generation.
  func run(_ key: UInt32, _ start: Silica_V1_Start) throws -> Transcript {
    try self.start(key, start)
    return try finish(key)
  }

  /// Half-closes and reads to the end.
  func close() throws -> Status {
    try call.sendEnd()
    try read { _ in false }
    return try call.finish().status
  }

  private func take(_ frame: Silica_V1_ServerFrame) {
    let key = frame.generation
    // What names a generation that is over is a refusal, the first frame of its own.
    if key != 0, transcripts[key]?.isOver != false { frameCounts[key] = 0 }
    frameCounts[key, default: 0] += 1
    // A resume that is refused is the first frame of its own, too.
    let isRefusal = frame.sequence == 1 && frame.failed.hasStatus
    #expect(
      frame.sequence == frameCounts[key] || isRefusal,
      "the number of a frame of generation \(key)")
    switch frame.frame {
    case .accepted(let message): transcripts[key]?.add(message)
    case .progress(let message): transcripts[key]?.add(message)
    case .delta(let message): transcripts[key]?.add(message)
    case .finished(let message): transcripts[key]?.add(message)
    case .failed(let message): take(message, about: key)
    case .pong(let message): pongs.append(message.nonce)
    case .goAway(let message): goAways.append(message)
    case .load(let message): loads.append(message)
    case nil: Issue.record("a frame that this server does not send: \(frame)")
    }
  }

  private func take(_ message: Silica_V1_Failed, about key: UInt32) {
    if transcripts[key]?.isOver == false {
      transcripts[key]?.add(message)
    } else {
      streamFailures.append(message)
    }
  }
}
