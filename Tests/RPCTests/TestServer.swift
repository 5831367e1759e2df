// SPDX-License-Identifier: Apache-2.0

import Glibc
import RPC
import Support
import Synchronization
import Testing

/// A server on a free port of the loopback with a few small methods, and what it saw.
final class TestServer: Sendable {
  static let echo = "/test.Echo/Echo"
  static let count = "/test.Echo/Count"
  static let status = "/test.Echo/Status"
  static let silent = "/test.Echo/Silent"

  let server: Server
  let address: Address
  let log = CallLog()

  init(pollerCount: Int = 1, change: (inout ServerConfiguration) -> Void = { _ in }) throws {
    var configuration = ServerConfiguration(addresses: [Address(host: "127.0.0.1", port: 0)])
    configuration.pollerCPUs = Array(repeating: [], count: pollerCount)
    change(&configuration)
    server = Server(configuration)
    server.register(path: Self.echo) { [log] in EchoHandler($0, log) }
    server.register(path: Self.count) { [log] in CountHandler($0, log) }
    server.register(path: Self.status) { [log] in StatusHandler($0, log) }
    server.register(path: Self.silent) { [log] in TestHandler($0, log) }
    do {
      try server.start()
    } catch {
      server.shutdown(grace: .zero)
      throw error
    }
    address = server.addresses[0]
  }

  func shutdown(grace: Duration = .zero) {
    server.shutdown(grace: grace)
  }
}

/// What handlers saw, for the test's thread.
final class CallLog: Sendable {
  struct Ending: Equatable {
    let path: String
    let wasCancelled: Bool
  }

  let endings = Mutex<[Ending]>([])
  let accepted = Atomic<Int>(0)
  let sent = Atomic<Int>(0)
  let lastCall = Mutex<ServerCall?>(nil)
  /// Whose the last call was, ended or not.
  let lastPeer = Mutex<String?>(nil)
  /// Calls accepted, by the name of their poller.
  let pollers = Mutex<[String: Int]>([:])

  var endingCount: Int { endings.withLock { $0.count } }
}

/// Waits for what other threads do; false after `milliseconds`.
func eventually(milliseconds: Int = 5_000, _ condition: () -> Bool) -> Bool {
  let deadline = Clock.nowNanoseconds + UInt64(milliseconds) * 1_000_000
  while !condition() {
    guard Clock.nowNanoseconds < deadline else { return false }
    usleep(1_000)
  }
  return true
}

/// Answers nothing; the base of the others.
class TestHandler: ServerCallHandler {
  let log: CallLog

  init(_ call: ServerCall, _ log: CallLog) {
    self.log = log
    log.lastCall.withLock { $0 = call }
    log.lastPeer.withLock { $0 = call.peer }
    log.pollers.withLock { $0[call.poller.name, default: 0] += 1 }
    log.accepted.add(1, ordering: .acquiringAndReleasing)
    call.read()
  }

  func received(_ message: RawSpan, on call: ServerCall) {}
  func receivedEnd(on call: ServerCall) {}
  func readyToSend(on call: ServerCall) {}

  func ended(on call: ServerCall, wasCancelled: Bool) {
    log.lastCall.withLock { if $0 === call { $0 = nil } }
    log.endings.withLock { $0.append(.init(path: call.path, wasCancelled: wasCancelled)) }
  }
}

/// Sends back each message, and reads the next when it is out.
final class EchoHandler: TestHandler {
  override func received(_ message: RawSpan, on call: ServerCall) {
    message.withUnsafeBytes { bytes in
      call.send(byteCount: bytes.count) { $0.copyMemory(from: bytes) }
    }
  }

  override func receivedEnd(on call: ServerCall) { call.finish(.ok) }
  override func readyToSend(on call: ServerCall) { call.read() }
}

/// Reads one message "COUNT SIZE" and answers with that many messages of that size, each starting
/// with its number.
final class CountHandler: TestHandler {
  private var (next, count, size) = (0, 0, 0)

  override func received(_ message: RawSpan, on call: ServerCall) {
    let text = message.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    let numbers = text.split(separator: " ").compactMap { Int($0) }
    (count, size) = (numbers[0], numbers[1])
    sendNext(call)
  }

  override func readyToSend(on call: ServerCall) { sendNext(call) }

  private func sendNext(_ call: ServerCall) {
    guard next < count else { return call.finish(.ok) }
    call.send(byteCount: size) { [next] bytes in
      bytes.initializeMemory(as: UInt8.self, repeating: 0)
      bytes.storeBytes(of: UInt32(next), toByteOffset: 0, as: UInt32.self)
    }
    next += 1
    log.sent.add(1, ordering: .relaxed)
  }
}

/// Sends the client's metadata back as headers and trailers, and a status with details.
final class StatusHandler: TestHandler {
  override init(_ call: ServerCall, _ log: CallLog) {
    super.init(call, log)
    var answer = Metadata()
    do {
      for entry in call.metadata.entries where entry.key.hasPrefix("x-") {
        try answer.append(entry.key, bytes: entry.value)
      }
    } catch {
      call.finish(Status(.internal, error.message))
      return
    }
    call.setInitialMetadata(answer)
    let status = Status(.failedPrecondition, "no — not “yet”", details: [8, 9, 0, 255])
    call.finish(status, trailers: answer)
  }
}

/// A poller for clients, stopped at the end of `body`.
func withChannel<Result>(
  to address: Address, limits: RPCLimits = RPCLimits(),
  credentials: ChannelCredentials = .insecure, _ body: (Channel) throws -> Result
) throws -> Result {
  let poller = Poller(name: "client")
  defer { poller.stop() }
  return try body(
    Channel(to: address, poller: poller, credentials: credentials, limits: limits))
}

/// A deadline on `Clock`, so that no test can hang.
func deadline(seconds: Double) -> UInt64 {
  Clock.nowNanoseconds + UInt64(seconds * 1e9)
}

/// Sends one message, half-closes, and returns all answers with the outcome.
func exchange(
  _ channel: Channel, _ path: String, _ message: [UInt8], metadata: Metadata = Metadata(),
  seconds: Double = 20
) throws -> (messages: [[UInt8]], outcome: BlockingCall.Outcome) {
  let call = try BlockingCall(
    on: channel, path: path, metadata: metadata, deadline: deadline(seconds: seconds))
  try call.send(message)
  try call.sendEnd()
  var messages: [[UInt8]] = []
  while let message = try call.receive() { messages.append(message) }
  return (messages, try call.finish())
}

/// Expects that the server serves.
func expectEcho(_ channel: Channel) throws {
  let (messages, outcome) = try exchange(channel, TestServer.echo, [1])
  #expect(outcome.status == .ok)
  #expect(messages == [[1]])
}
