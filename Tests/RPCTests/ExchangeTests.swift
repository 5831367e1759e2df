// SPDX-License-Identifier: Apache-2.0

import RPC
import Support
import Synchronization
import Testing

/// What calls carry, over a real connection.
@Suite struct ExchangeTests {
  @Test func `a unary call is answered`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let (messages, outcome) = try exchange(channel, TestServer.echo, Array("hello".utf8))
      #expect(messages == [Array("hello".utf8)])
      #expect(outcome.status == .ok)
    }
    #expect(eventually { server.log.endingCount == 1 })
    let endings = server.log.endings.withLock { $0 }
    #expect(endings == [.init(path: TestServer.echo, wasCancelled: false)])
  }

  @Test func `messages of every size come back as they were`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      // 23 bytes fit inside a slice; 70,000 come in pieces; 5,000,000 need the flow control.
      for size in [0, 1, 22, 23, 24, 64, 1_000, 70_000, 5_000_000] {
        let message = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let (messages, outcome) = try exchange(channel, TestServer.echo, message)
        #expect(outcome.status == .ok)
        #expect(messages == [message], "\(size) bytes")
      }
    }
  }

  @Test func `a server streams in order`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let (messages, outcome) = try exchange(channel, TestServer.count, Array("1000 9".utf8))
      #expect(outcome.status == .ok)
      let numbers = messages.map { $0.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) } }
      #expect(numbers == (0..<1_000).map { UInt32($0) })
    }
  }

  @Test func `both sides speak in turn on one stream`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let call = try BlockingCall(
        on: channel, path: TestServer.echo, deadline: deadline(seconds: 20))
      for turn in 0..<100 {
        let message = Array("turn \(turn)".utf8)
        try call.send(message)
        #expect(try call.receive() == message)
      }
      #expect(try call.finish().status == .ok)
    }
  }

  @Test func `metadata goes both ways, binary values too`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    var metadata = Metadata()
    try metadata.append("x-tenant", "a b~c")
    try metadata.append("x-twice", "1")
    try metadata.append("x-twice", "2")
    try metadata.append("x-trace-bin", bytes: [0, 255, 10, 44, 128])
    try withChannel(to: server.address) { channel in
      let call = try BlockingCall(
        on: channel, path: TestServer.status, metadata: metadata, deadline: deadline(seconds: 20))
      let headers = call.initialMetadata()
      let outcome = try call.finish()
      for answer in [headers, outcome.trailers] {
        #expect(answer["x-tenant"] == "a b~c")
        #expect(answer.values(of: "x-twice") == [Array("1".utf8), Array("2".utf8)])
        #expect(answer[binary: "x-trace-bin"] == [0, 255, 10, 44, 128])
      }
    }
  }

  @Test func `a status carries its code, any text and details`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let outcome = try exchange(channel, TestServer.status, []).outcome
      #expect(
        outcome.status
          == Status(.failedPrecondition, "no — not “yet”", details: [8, 9, 0, 255]))
      #expect(outcome.trailers[binary: "grpc-status-details-bin"] == nil)
    }
  }

  @Test func `a call knows its path, its peer and its deadline`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let end = deadline(seconds: 30)
      let call = try BlockingCall(on: channel, path: TestServer.silent, deadline: end)
      #expect(eventually { server.log.lastCall.withLock { $0 != nil } })
      let seen = try #require(server.log.lastCall.withLock { $0 })
      #expect(seen.path == TestServer.silent)
      #expect(seen.peer.hasPrefix("ipv4:127.0.0.1:"))
      let late = Int64(try #require(seen.deadline)) - Int64(end)
      #expect(abs(late) < 1_000_000_000)
      try call.cancel()
      _ = try call.finish()
    }
  }

  @Test func `metadata that HTTP 2 cannot carry is refused when it is added`() {
    var metadata = Metadata()
    #expect(throws: RPCError.self) { try metadata.append("Upper", "x") }
    #expect(throws: RPCError.self) { try metadata.append("", "x") }
    #expect(throws: RPCError.self) { try metadata.append("grpc-status", "0") }
    #expect(throws: RPCError.self) { try metadata.append("x-text", "é") }
    #expect(throws: RPCError.self) { try metadata.append("x-text", "a\nb") }
    #expect(metadata.entries.isEmpty)
  }
}
