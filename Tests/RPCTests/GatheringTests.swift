// SPDX-License-Identifier: Apache-2.0

import CSend
import Glibc
import RPC
import Synchronization
import Testing

/// Messages of many calls of one connection, which are gathered and written together.
@Suite struct GatheringTests {
  private static let calls = 50
  private static let messages = 100

  @Test func `each call gets all of its messages in order`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { try Self.expectAllMessages($0) }
  }

  @Test func `calls whose clients do not read hold up no others`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      // More than their windows take.
      let stalled = try (0..<5).map { _ in
        try Self.call(channel, "100000 16")
      }
      for _ in 0..<3 { try Self.expectAllMessages(channel) }
      for call in stalled { try call.cancel() }
    }
    #expect(eventually { server.server.activeCallCount == 0 })
  }

  @Test func `calls that are cancelled while messages are gathered harm no others`() throws {
    let server = try TestServer()
    defer { server.shutdown() }
    try withChannel(to: server.address) { channel in
      for _ in 0..<20 {
        let doomed = try (0..<10).map { _ in try Self.call(channel, "100000 16") }
        let others = try (0..<10).map { _ in try Self.call(channel, "20 16") }
        for call in doomed { try call.cancel() }
        for call in others { #expect(try Self.numbers(call) == Array(0..<20)) }
        for call in doomed { #expect(try call.finish().status.code == .cancelled) }
      }
    }
    #expect(eventually { server.server.activeCallCount == 0 })
    #expect(server.log.endingCount == server.log.accepted.load(ordering: .acquiring))
  }

  @Test func `whoever waits for a sendmsg of its thread is called once, before it`() throws {
    #expect(csend_is_used() == 1, "libgrpc finds this program's sendmsg")
    var sockets: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets) == 0)
    defer { for socket in sockets { close(socket) } }
    var count = 0
    withUnsafeMutablePointer(to: &count) { count in
      csend_arm({ $0?.assumingMemoryBound(to: Int.self).pointee += 1 }, count)
      var bytes: [UInt8] = [1, 2, 3]
      for _ in 0..<2 {
        let sent = bytes.withUnsafeMutableBytes { bytes in
          var vector = iovec(iov_base: bytes.baseAddress, iov_len: 3)
          return withUnsafeMutablePointer(to: &vector) { vector in
            var message = msghdr()
            message.msg_iov = vector
            message.msg_iovlen = 1
            return sendmsg(sockets[0], &message, 0)
          }
        }
        #expect(sent == 3)
        #expect(count.pointee == 1)
      }
      #expect(csend_disarm() == 1)
      csend_arm({ $0?.assumingMemoryBound(to: Int.self).pointee += 1 }, count)
      #expect(csend_disarm() == 0)
      #expect(count.pointee == 1)
    }
    var received = [UInt8](repeating: 0, count: 8)
    #expect(read(sockets[1], &received, 8) == 6)
    #expect(received == [1, 2, 3, 1, 2, 3, 0, 0])
  }

  // MARK: Calls

  /// Many at once, as many messages each as there may be.
  static func expectAllMessages(_ channel: Channel) throws {
    let calls = try (0..<calls).map { _ in try call(channel, "\(messages) 60") }
    for call in calls {
      #expect(try numbers(call) == Array(0..<UInt32(messages)))
      #expect(try call.finish().status == .ok)
    }
  }

  private static func call(_ channel: Channel, _ order: String) throws -> BlockingCall {
    let call = try BlockingCall(
      on: channel, path: TestServer.count, deadline: deadline(seconds: 60))
    try call.send(Array(order.utf8))
    return call
  }

  /// The numbers at the start of all messages.
  private static func numbers(_ call: BlockingCall) throws -> [UInt32] {
    var numbers: [UInt32] = []
    while let message = try call.receive() {
      numbers.append(message.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) })
    }
    return numbers
  }
}
