// SPDX-License-Identifier: Apache-2.0

import RPC
import Support
import Synchronization
import Testing

@Suite struct ShutdownTests {
  @Test func `streams that run on are cancelled when the grace is over`() throws {
    let server = try TestServer(pollerCount: 2)
    try withChannel(to: server.address) { channel in
      let calls = try (0..<20).map { _ in
        try BlockingCall(on: channel, path: TestServer.echo, deadline: deadline(seconds: 20))
      }
      for call in calls {
        try call.send([1])
        #expect(try call.receive() == [1])
      }
      let start = Clock.nowNanoseconds
      server.shutdown(grace: .milliseconds(100))
      #expect(Clock.nowNanoseconds - start > 90_000_000)
      #expect(server.log.endingCount == 20)
      #expect(server.log.endings.withLock { $0.allSatisfy(\.wasCancelled) })
      for call in calls {
        #expect([.unavailable, .cancelled].contains(try call.finish().status.code))
      }
    }
  }

  @Test func `a call that ends within the grace ends well and ends the waiting`() throws {
    let server = try TestServer()
    try withChannel(to: server.address) { channel in
      let call = try BlockingCall(
        on: channel, path: TestServer.echo, deadline: deadline(seconds: 20))
      try call.send([1])
      #expect(try call.receive() == [1])
      let start = Clock.nowNanoseconds
      let stopper = PinnedThread(name: "stopper") { server.shutdown(grace: .seconds(20)) }
      #expect(
        eventually {
          let probe = try? exchange(channel, TestServer.silent, [1], seconds: 0.1).outcome.status
          return probe?.code == .unavailable
        })
      try call.send([2])
      #expect(try call.receive() == [2])
      #expect(try call.finish().status == .ok)
      stopper.join()
      #expect(Clock.nowNanoseconds - start < 5_000_000_000)
      let last = server.log.endings.withLock { $0.last }
      #expect(last == .init(path: TestServer.echo, wasCancelled: false))
    }
  }

  @Test func `a server that was never started shuts down`() {
    Server(ServerConfiguration(addresses: [])).shutdown(grace: .seconds(10))
  }

  @Test func `a server without an address does not start`() {
    let server = Server(ServerConfiguration(addresses: []))
    #expect(throws: RPCError.self) { try server.start() }
    server.shutdown(grace: .zero)
  }

  @Test func `an idle connection does not hold the shut-down`() throws {
    let server = try TestServer()
    let raw = try RawSocket(port: server.address.port)
    try withChannel(to: server.address) { channel in
      try expectEcho(channel)
      let start = Clock.nowNanoseconds
      server.shutdown(grace: .seconds(20))
      #expect(Clock.nowNanoseconds - start < 5_000_000_000)
    }
    raw.send([0])
  }

  @Test func `a server listens on several addresses until it is shut down`() throws {
    let server = try TestServer { configuration in
      configuration.addresses.append(Address(host: "127.0.0.1", port: 0))
      configuration.addresses.append(Address(host: "localhost", port: 0))
    }
    let addresses = server.server.addresses
    #expect(addresses.count == 3 && Set(addresses).count == 3)
    for address in addresses {
      try withChannel(to: address) { channel in
        try expectEcho(channel)
      }
    }
    server.shutdown()
    let again = Server(ServerConfiguration(addresses: [addresses[0]]))
    try again.start()
    again.shutdown(grace: .zero)
  }
}
