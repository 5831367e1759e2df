// SPDX-License-Identifier: Apache-2.0

import Foundation
import RPC
import Secrets
import Synchronization
import TestSupport
import Testing

/// TLS as other programs see it: `openssl s_client`, and Python's grpcio.
@Suite struct TLSTests {
  private let certificates: TestCertificates

  init() throws {
    certificates = try TestCertificates()
    try certificates.make("server")
  }

  private func identity(_ name: String) throws -> CertificateIdentity {
    try CertificateIdentity(
      certificateFile: certificates.pem(name), keyFile: certificates.key(name))
  }

  private func authorities(_ name: String = "ca") throws -> CertificateAuthorities {
    try CertificateAuthorities(file: certificates.pem(name))
  }

  /// Runs `body` beside a server with the certificate "server".
  private func withServer(
    clientAuthorities: String? = nil, _ body: (TestServer, TLSServerIdentity) throws -> Void
  ) throws {
    let identity = try TLSServerIdentity(
      identity("server"), clientAuthorities: try clientAuthorities.map { try authorities($0) })
    let server = try TestServer { $0.credentials = .tls(identity) }
    defer { server.shutdown() }
    try body(server, identity)
  }

  private func credentials(
    _ authority: String = "ca", client: String? = nil, serverName: String? = nil
  ) throws -> ChannelCredentials {
    .tls(
      try TLSClientOptions(
        authorities: try authorities(authority), identity: try client.map { try identity($0) },
        serverName: serverName))
  }

  /// The status of one echo.
  private func echo(_ server: TestServer, _ credentials: ChannelCredentials) throws -> Status {
    try withChannel(to: server.address, credentials: credentials) { channel in
      try exchange(channel, TestServer.echo, [1]).outcome.status
    }
  }

  @Test func `messages of many calls are gathered, and come in order`() throws {
    try withServer { server, _ in
      try withChannel(to: server.address, credentials: credentials()) { channel in
        try GatheringTests.expectAllMessages(channel)
      }
    }
  }

  @Test func `calls are carried, large ones too`() throws {
    try withServer { server, _ in
      try withChannel(to: server.address, credentials: credentials()) { channel in
        for size in [1, 70_000, 3_000_000] {
          let message = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
          let (messages, outcome) = try exchange(channel, TestServer.echo, message)
          #expect(outcome.status == .ok)
          #expect(messages == [message])
        }
      }
    }
  }

  @Test(arguments: ["-tls1", "-tls1_1", "-tls1_2"])
  func `older versions than 1_3 are refused`(option: String) throws {
    try withServer { server, _ in
      let result = try certificates.handshake(with: server.address.description, option)
      #expect(result.status != 0)
      #expect(result.output.contains("Cipher is (NONE)"), "\(result.output)")
      #expect(try echo(server, credentials()) == .ok)
    }
  }

  @Test func `version 1_3 is spoken with h2`() throws {
    try withServer { server, _ in
      let result = try certificates.handshake(with: server.address.description, "-tls1_3")
      #expect(result.output.contains("New, TLSv1.3, Cipher is TLS_"))
      #expect(result.output.contains("ALPN protocol: h2"))
      #expect(result.output.contains("Verify return code: 0 (ok)"))
    }
  }

  @Test func `a server signed by nobody known is not spoken to`() throws {
    try certificates.makeAuthority("other")
    try withServer { server, _ in
      let status = try echo(server, credentials("other"))
      #expect(status.code == .unavailable)
      #expect(status.message.contains("certificate verify failed"))
      #expect(try echo(server, .insecure).code == .unavailable)
      #expect(try echo(server, credentials(serverName: "example.org")).code == .unavailable)
      #expect(try echo(server, credentials(serverName: "localhost")) == .ok)
    }
  }

  @Test func `with client authorities a client needs a certificate of theirs`() throws {
    try certificates.make("client")
    try certificates.makeAuthority("other")
    try certificates.make("stranger", signedBy: "other")
    try withServer(clientAuthorities: "ca") { server, _ in
      let good = try echo(server, credentials(client: "client"))
      #expect(good == .ok)
      #expect(try echo(server, credentials()).code == .unavailable)
      #expect(try echo(server, credentials(client: "stranger")).code == .unavailable)
      #expect(server.log.accepted.load(ordering: .relaxed) == 1)
    }
  }

  @Test func `certificates are replaced under running streams`() throws {
    try certificates.make("second")
    let (first, second) = (try identity("server"), try identity("second"))
    try withServer { server, identity in
      let target = server.address.description
      #expect(try certificates.commonName(at: target) == "server")
      try withChannel(to: server.address, credentials: credentials()) { channel in
        let calls = try (0..<8).map { _ in
          try BlockingCall(on: channel, path: TestServer.echo, deadline: deadline(seconds: 30))
        }
        for turn in 0..<40 {
          identity.replace(turn % 2 == 0 ? second : first)
          for call in calls {
            try call.send([UInt8(turn)])
            #expect(try call.receive() == [UInt8(turn)])
          }
          if turn % 10 == 0 { #expect(try echo(server, credentials()) == .ok) }
        }
        identity.replace(second)
        #expect(try certificates.commonName(at: target) == "second")
        for call in calls { #expect(try call.finish().status == .ok) }
      }
    }
  }

  @Test func `client authorities are replaced too`() throws {
    try certificates.make("client")
    try certificates.makeAuthority("other")
    try certificates.make("stranger", signedBy: "other")
    try withServer(clientAuthorities: "ca") { server, identity in
      #expect(try echo(server, credentials(client: "stranger")).code == .unavailable)
      identity.replace(try self.identity("server"), clientAuthorities: try authorities("other"))
      #expect(try echo(server, credentials(client: "stranger")) == .ok)
      #expect(try echo(server, credentials(client: "client")).code == .unavailable)
    }
  }

  @Test func `a Python client speaks TLS, with a certificate where one is needed`() throws {
    try certificates.make("client")
    let files = [certificates.pem("ca"), certificates.pem("client"), certificates.key("client")]
    try withServer(clientAuthorities: "ca") { server, _ in
      let client = try PythonClient.start("echo", server.address, files)
      let lines = try (0..<3).map { _ in try client.readLine() }
      #expect(lines == ["6f6e65", "00ff", "OK"])
      #expect(try client.finish() == 0)
      let bare = try PythonClient.start("refused", server.address, [files[0]])
      #expect(try bare.readLine() == "UNAVAILABLE")
      #expect(try bare.finish() == 0)
    }
  }
}
