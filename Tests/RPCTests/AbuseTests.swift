// SPDX-License-Identifier: Apache-2.0

import Glibc
import RPC
import Support
import Synchronization
import Testing

/// A server whose client does what C-core does not limit. `ConnectionWatchTests` has the limits.
@Suite struct AbuseTests {
  @Test func `calls taken back as soon as they begin cost the connection`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    let connection = try RawConnection(to: server.address)
    try #require(connection.send(HTTP2.hello))
    var stream: UInt32 = 1
    try expectEnd(of: connection) {
      var calls: [UInt8] = []
      for _ in 0..<100 {
        calls += HTTP2.call(stream, TestServer.silent, ends: true) + HTTP2.reset(stream)
        stream += 2
      }
      return calls
    }
    #expect(server.log.accepted.load(ordering: .acquiring) <= RPCLimits().earlyResetBurstMax)
    try withChannel(to: server.address) { try expectEcho($0) }
    #expect(eventually { server.server.activeCallCount == 0 })
  }

  @Test func `headers that never end cost the connection`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    let connection = try RawConnection(to: server.address)
    try #require(connection.send(HTTP2.hello + HTTP2.frame(.headers, 1, [0x83])))
    try expectEnd(of: connection) { HTTP2.moreHeaders(1) }
    try withChannel(to: server.address) { try expectEcho($0) }
  }

  @Test func `a busy client keeps its connection`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      let before = try peer(of: channel, at: server)
      for number in 0..<2_000 { try expectLongEcho(channel, number % 50 == 0 ? 60_000 : 10) }
      try uploadAtLength(channel)
      for _ in 0..<5 { try takeBack(20, on: channel) }
      #expect(eventually { server.server.activeCallCount == 0 })
      #expect(try peer(of: channel, at: server) == before)
    }
  }

  // MARK: Honest clients

  private func expectLongEcho(_ channel: Channel, _ size: Int) throws {
    let message = [UInt8](repeating: 7, count: size)
    let (messages, outcome) = try exchange(channel, TestServer.echo, message)
    #expect(outcome.status == .ok)
    #expect(messages == [message])
  }

  /// 30 MB on one stream, whose call the server never ends.
  private func uploadAtLength(_ channel: Channel) throws {
    let call = try BlockingCall(on: channel, path: TestServer.echo, deadline: deadline(seconds: 60))
    let message = [UInt8](repeating: 1, count: 60_000)
    for _ in 0..<500 {
      try call.send(message)
      #expect(try call.receive()?.count == message.count)
    }
    try call.sendEnd()
    #expect(try call.finish().status == .ok)
  }

  private func takeBack(_ count: Int, on channel: Channel) throws {
    let calls = try (0..<count).map { _ in
      try BlockingCall(on: channel, path: TestServer.silent, deadline: deadline(seconds: 20))
    }
    for call in calls { try call.send([UInt8](repeating: 1, count: 60_000)) }
    for call in calls { try call.cancel() }
    for call in calls { #expect(try call.finish().status.code == .cancelled) }
  }

  /// Begins a call and takes it back once the server has it; returns the client's name there.
  private func peer(of channel: Channel, at server: TestServer) throws -> String? {
    let before = server.log.accepted.load(ordering: .acquiring)
    let call = try BlockingCall(
      on: channel, path: TestServer.silent, deadline: deadline(seconds: 5))
    #expect(eventually { server.log.accepted.load(ordering: .acquiring) > before })
    let peer = server.log.lastPeer.withLock { $0 }
    try call.cancel()
    _ = try call.finish()
    return peer
  }

  // MARK: Others

  /// Sends chunks until the server hangs up.
  private func expectEnd(
    of connection: RawConnection, seconds: Double = 15, _ chunk: () -> [UInt8]
  ) throws {
    let limit = deadline(seconds: seconds)
    while Clock.nowNanoseconds < limit {
      guard connection.send(chunk()) else { return }
    }
    Issue.record("the server goes on listening")
  }
}

/// A TCP connection to the loopback that says what it is told.
private final class RawConnection {
  private let descriptor: Int32
  private var answer = [UInt8](repeating: 0, count: 1 << 16)

  init(to address: Address) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var to = sockaddr_in()
    to.sin_family = sa_family_t(AF_INET)
    to.sin_port = in_port_t(address.port).bigEndian
    to.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let code = withUnsafePointer(to: &to) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(code == 0)
  }

  deinit { close(descriptor) }

  /// Sends all of it, and reads what is there; false once the server has hung up.
  func send(_ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
      while recv(descriptor, &answer, answer.count, Int32(MSG_DONTWAIT)) > 0 {}
    }
    return true
  }
}
