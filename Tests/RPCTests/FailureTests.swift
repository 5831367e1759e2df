// SPDX-License-Identifier: Apache-2.0

import Glibc
import RPC
import Support
import Synchronization
import TestSupport
import Testing

/// What bad clients, bad input and bad luck get.
@Suite struct FailureTests {
  @Test func `a deadline ends the call at both ends`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let call = try BlockingCall(
        on: channel, path: TestServer.silent, deadline: deadline(seconds: 0.2))
      #expect(try call.finish().status.code == .deadlineExceeded)
    }
    #expect(eventually { server.log.endingCount == 1 })
    let endings = server.log.endings.withLock { $0 }
    #expect(endings == [.init(path: TestServer.silent, wasCancelled: true)])
  }

  @Test func `a cancellation reaches the server at once`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let call = try BlockingCall(
        on: channel, path: TestServer.silent, deadline: deadline(seconds: 20))
      #expect(eventually { server.log.accepted.load(ordering: .relaxed) == 1 })
      let start = Clock.nowNanoseconds
      try call.cancel()
      #expect(eventually { server.log.endingCount == 1 })
      #expect(Clock.nowNanoseconds - start < 1_000_000_000)
      #expect(server.log.endings.withLock { $0[0].wasCancelled })
      #expect(try call.finish().status.code == .cancelled)
    }
  }

  @Test func `an unknown method is unimplemented, by name`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let status = try exchange(channel, "/test.Echo/Nothing", [1]).outcome.status
      #expect(status == Status(.unimplemented, "unknown method /test.Echo/Nothing"))
    }
  }

  @Test func `a message over the limit exhausts its call and no other`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    var limits = RPCLimits()
    limits.sendMessageBytesMax = 200 << 20
    try withChannel(to: server.address, limits: limits) { channel in
      let neighbour = try BlockingCall(
        on: channel, path: TestServer.echo, deadline: deadline(seconds: 30))
      let message = [UInt8](repeating: 7, count: 100 << 20)
      let status = try exchange(channel, TestServer.echo, message).outcome.status
      #expect(status.code == .resourceExhausted)
      #expect(status.message.contains("16777216"), "the limit is named: \(status.message)")
      try neighbour.send([1, 2, 3])
      #expect(try neighbour.receive() == [1, 2, 3])
      #expect(try neighbour.finish().status == .ok)
    }
  }

  @Test func `too much metadata is refused and other connections live`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    var metadata = Metadata()
    try metadata.append("x-long", String(repeating: "a", count: 40_000))
    try withChannel(to: server.address) { neighbour in
      try expectEcho(neighbour)
      try withChannel(to: server.address) { channel in
        let refused = try exchange(channel, TestServer.echo, [1], metadata: metadata).outcome
        #expect([.resourceExhausted, .unavailable].contains(refused.status.code))
      }
      try expectEcho(neighbour)
    }
  }

  @Test func `random bytes on the port leave the server serving`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    var random = SeededGenerator(seed: 11)
    for round in 0..<40 {
      let socket = try RawSocket(port: server.address.port)
      // Some with a right start, so that the parser behind it is reached.
      var bytes = round % 2 == 0 ? Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) : []
      if round % 4 == 0 { bytes += [0, 0, 0, 4, 0, 0, 0, 0, 0] }
      let noiseCount = Int.random(in: 0..<4_000, using: &random)
      bytes += (0..<noiseCount).map { _ in UInt8.random(in: 0...255, using: &random) }
      socket.send(bytes)
    }
    try withChannel(to: server.address) { channel in
      try expectEcho(channel)
    }
  }

  @Test func `a client gone in mid-stream ends its calls exactly once`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    let client = try PythonClient.start("vanish", server.address)
    #expect(try client.readLine() == "streaming")
    client.kill()
    #expect(eventually { server.log.endingCount == 3 })
    usleep(50_000)
    let endings = server.log.endings.withLock { $0 }
    #expect(endings == Array(repeating: .init(path: TestServer.echo, wasCancelled: true), count: 3))
    #expect(server.server.activeCallCount == 0)
  }

  @Test func `a server that is not there is unavailable`() throws {
    let server = try TestServer()
    server.shutdown()
    try withChannel(to: server.address) { channel in
      let status = try exchange(channel, TestServer.echo, [1]).outcome.status
      #expect(status.code == .unavailable)
    }
  }

  @Test func `a port in use is a clear error`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    let second = Server(ServerConfiguration(addresses: [server.address]))
    #expect(
      throws: RPCError(
        .unavailable, "cannot listen on \(server.address): the port is in use")
    ) { try second.start() }
    second.shutdown(grace: .zero)
    try withChannel(to: server.address) { channel in
      try expectEcho(channel)
    }
  }

  @Test func `a host that is no host is a clear error`() {
    let address = Address(host: "no.such.host.invalid", port: 0)
    let server = Server(ServerConfiguration(addresses: [address]))
    #expect {
      try server.start()
    } throws: {
      ($0 as? RPCError)?.message.contains("no.such.host.invalid:0") == true
    }
    server.shutdown(grace: .zero)
  }

  @Test func `calls beyond the server's limit are told so`() throws {
    let server = try TestServer { $0.limits.callCountMax = 2 }
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let calls = try (0..<2).map { _ in
        try BlockingCall(on: channel, path: TestServer.silent, deadline: deadline(seconds: 20))
      }
      #expect(eventually { server.log.accepted.load(ordering: .relaxed) == 2 })
      let refused = try exchange(channel, TestServer.echo, [1]).outcome.status
      #expect(refused == Status(.resourceExhausted, "the server has 2 calls open, its limit"))
      for call in calls {
        try call.cancel()
        _ = try call.finish()
      }
      #expect(eventually { server.server.activeCallCount == 0 })
      #expect(try exchange(channel, TestServer.echo, [1]).outcome.status == .ok)
    }
  }

  @Test func `addresses are read strictly`() throws {
    #expect(try Address(parsing: "[::1]:80") == Address(host: "::1", port: 80))
    #expect(try Address(parsing: "[::1]:80").description == "[::1]:80")
    #expect(try Address(parsing: "localhost:0") == Address(host: "localhost", port: 0))
    for text in ["", "localhost", ":80", "::1:80", "a:65536", "a:-1", "a:b", "a:"] {
      #expect(throws: RPCError.self, "\(text)") { try Address(parsing: text) }
    }
  }
}

/// A plain TCP connection to the loopback, closed when the last reference goes.
final class RawSocket {
  private let descriptor: Int32

  init(port: UInt16) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafePointer(to: address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
    }
    try #require(code == 0)
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) {
    _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }
}
