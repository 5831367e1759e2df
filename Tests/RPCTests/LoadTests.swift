// SPDX-License-Identifier: Apache-2.0

import Glibc
import RPC
import Support
import Synchronization
import Testing

/// Many calls, and slow ones: nothing may grow.
@Suite(.serialized) struct LoadTests {
  @Test func `a slow reader holds the writer to its window`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      // 10,000 messages of 16 KiB are 160 MB; nobody reads them.
      let call = try BlockingCall(
        on: channel, path: TestServer.count, deadline: deadline(seconds: 30))
      try call.send(Array("10000 16384".utf8))
      #expect(eventually { server.log.sent.load(ordering: .relaxed) > 0 })
      usleep(300_000)
      let sent = server.log.sent.load(ordering: .relaxed)
      #expect(sent < 2_000, "\(sent) messages went out unread")
      for _ in 0..<3_000 { #expect(try call.receive()?.count == 16_384) }
      #expect(eventually { server.log.sent.load(ordering: .relaxed) > 3_000 })
      try call.cancel()
      #expect(try call.finish().status.code == .cancelled)
    }
    #expect(eventually { server.server.activeCallCount == 0 })
  }

  @Test func `a thousand streams at once all get their echoes`() throws {
    let server = try TestServer(pollerCount: 2)
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let calls = try (0..<1_000).map { _ in
        try BlockingCall(on: channel, path: TestServer.echo, deadline: deadline(seconds: 60))
      }
      #expect(eventually { server.log.accepted.load(ordering: .acquiring) == 1_000 })
      // They come over one connection, and both pollers carry them.
      let counts = server.log.pollers.withLock { $0 }
      #expect(counts.count == 2 && counts.values.allSatisfy { $0 > 400 }, "\(counts)")
      for turn in 0..<3 {
        for (number, call) in calls.enumerated() {
          try call.send([UInt8(number & 255), UInt8(turn)])
        }
        for (number, call) in calls.enumerated() {
          #expect(try call.receive() == [UInt8(number & 255), UInt8(turn)])
        }
      }
      for call in calls { #expect(try call.finish().status == .ok) }
      #expect(eventually { server.log.endingCount == 1_000 })
      #expect(server.log.endings.withLock { !$0.contains { $0.wasCancelled } })
    }
  }

  // In processes of their own: other tests open files and take memory too.

  @Test func `ten thousand calls leave descriptors and memory flat`() async {
    await #expect(processExitsWith: .success) {
      let server = try TestServer()
      try withChannel(to: server.address) { channel in
        try runEchoes(on: channel, count: 2_000)
        let (descriptors, memory) = (ProcessUsage.descriptorCount, ProcessUsage.anonymousKiB)
        for _ in 0..<5 { try runEchoes(on: channel, count: 2_000) }
        #expect(abs(ProcessUsage.descriptorCount - descriptors) <= 2)
        // The log of the test itself takes about 500 KiB.
        let growth = ProcessUsage.anonymousKiB - memory
        #expect(growth < 2_048, "10,000 calls grew memory by \(growth) KiB")
      }
      #expect(eventually { server.log.endingCount == 12_000 })
      #expect(eventually { server.server.activeCallCount == 0 })
      server.shutdown()
    }
  }

  @Test func `a hundred connections come and go without a trace`() async {
    await #expect(processExitsWith: .success) {
      let server = try TestServer()
      try withChannel(to: server.address) { try expectEcho($0) }
      let descriptors = ProcessUsage.descriptorCount
      for _ in 0..<100 {
        try withChannel(to: server.address) { try expectEcho($0) }
      }
      #expect(eventually { ProcessUsage.descriptorCount - descriptors <= 2 })
      server.shutdown()
    }
  }

  @Test func `a call touched outside its poller's thread stops the process`() async {
    await #expect(processExitsWith: .failure) {
      let server = try TestServer()
      try withChannel(to: server.address) { channel in
        let call = try BlockingCall(on: channel, path: TestServer.silent)
        _ = eventually { server.log.lastCall.withLock { $0 != nil } }
        server.log.lastCall.withLock { $0 }?.send([1])
        try call.cancel()
        _ = try call.finish()
      }
      server.shutdown()
    }
  }
}

private func runEchoes(on channel: Channel, count: Int) throws {
  let load = EchoLoad(channel, callCount: count, concurrency: 16)
  try #require(load.run() == count)
}

/// Unary echoes on one channel, some at a time, on the client's poller.
private final class EchoLoad: @unchecked Sendable {  // counts are the poller's until `isDone`
  private let channel: Channel
  private let callCount: Int
  private let concurrency: Int
  private var started = 0
  private var ended = 0
  private var succeeded = 0
  private let isDone = WakeSignal()

  init(_ channel: Channel, callCount: Int, concurrency: Int) {
    self.channel = channel
    self.callCount = callCount
    self.concurrency = concurrency
  }

  /// Returns how many calls were answered rightly.
  func run() -> Int {
    let isSubmitted = channel.poller.submit { [self] in
      for _ in 0..<concurrency { startNext() }
    }
    guard isSubmitted, isDone.wait(until: deadline(seconds: 60)) else { return -1 }
    return succeeded
  }

  private func startNext() {
    guard started < callCount else { return }
    started += 1
    let caller = UnaryCaller { [self] isRight in
      ended += 1
      succeeded += isRight ? 1 : 0
      ended == callCount ? isDone.notify() : startNext()
    }
    let call = ClientCall(
      on: channel, path: TestServer.echo, deadline: deadline(seconds: 60), handler: caller)
    call.start()
    call.send([1, 2, 3, 4])
    call.sendEnd()
    call.read()
  }
}

private final class UnaryCaller: ClientCallHandler {
  private let done: (Bool) -> Void
  private var answer: [UInt8] = []

  init(done: @escaping (Bool) -> Void) { self.done = done }

  func receivedInitialMetadata(_ metadata: Metadata, on call: ClientCall) {}
  func receivedEnd(on call: ClientCall) {}
  func readyToSend(on call: ClientCall) {}

  func received(_ message: RawSpan, on call: ClientCall) {
    answer = message.withUnsafeBytes { Array($0) }
  }

  func ended(on call: ClientCall, status: Status, trailers: Metadata) {
    done(status == .ok && answer == [1, 2, 3, 4])
  }
}

/// What this process holds, as the system counts it.
private enum ProcessUsage {
  static var descriptorCount: Int {
    (0..<4_096).count { fcntl(Int32($0), F_GETFD) != -1 }
  }

  /// Anonymous memory, resident and swapped: caches of files do not count.
  static var anonymousKiB: Int {
    guard let file = fopen("/proc/self/status", "r") else { return 0 }
    defer { fclose(file) }
    var total = 0
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
      guard text.hasPrefix("RssAnon:") || text.hasPrefix("VmSwap:") else { continue }
      total += text.split(whereSeparator: \.isWhitespace).lazy.compactMap { Int($0) }.first ?? 0
    }
    return total
  }
}
