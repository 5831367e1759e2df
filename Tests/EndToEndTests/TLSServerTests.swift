// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Messages
import RPC
import Secrets
import TestSupport
import Testing

extension EndToEnd {
  /// `silica serve` and `silica generate` over TLS.
  @Suite struct TLSServerTests {
    private let certificates: TestCertificates

    init() throws {
      certificates = try TestCertificates()
      try certificates.make("server")
      try certificates.make("client")
    }

    private var serverOptions: [String] {
      ["--tls-certificate", certificates.pem("server"), "--tls-key", certificates.key("server")]
    }

    private func generate(_ server: RunningServer, _ options: [String]) throws -> Command.Result {
      try SilicaCommand.run(
        ["generate", "--target", server.target, "--prompt", "Once", "--max-tokens", "4"] + options)
    }

    @Test func `generate reaches a server that wants certificates`() throws {
      let options = serverOptions + ["--tls-client-ca", certificates.pem("ca")]
      try RunningServer.with(model: TestModel.tiny, options) { server in
        #expect(server.errors.contains("TLS 1.3 as CN = server, valid until"))
        let authorities = ["--tls-ca", certificates.pem("ca")]
        let own = [
          "--tls-certificate", certificates.pem("client"), "--tls-key", certificates.key("client"),
        ]
        let good = try generate(server, authorities + own)
        #expect(good.status == 0 && !good.output.isEmpty, "\(good.errors)")
        for bad in [authorities, own + ["--tls"], []] {
          let result = try generate(server, bad)
          #expect(result.status == 1 && result.output.isEmpty)
          #expect(result.errors.contains(server.target))
        }
        let old = try certificates.handshake(with: server.target, "-tls1_2")
        #expect(old.output.contains("Cipher is (NONE)"))
      }
    }

    @Test func `certificates are reloaded, bad ones are not, and no stream is cut`() throws {
      try certificates.make("second")
      try certificates.make("third")
      try RunningServer.with(model: TestModel.tiny, serverOptions) { server in
        let options = try TLSClientOptions(
          authorities: try CertificateAuthorities(file: certificates.pem("ca")))
        let session = try InferenceClient(server, .tls(options)).session()
        for generation in 1...4 as ClosedRange<UInt32> {
          try session.start(generation, .greedy([40, 41, 42], count: 4_000))
        }
        try session.waitForDelta(of: 4)
        // Half of a certificate, as an unlucky copy leaves it.
        let whole = try Data(contentsOf: URL(filePath: certificates.pem("server")))
        try whole.prefix(whole.count / 2).write(to: URL(filePath: certificates.pem("server")))
        #expect(server.waitForErrors("TLS files have changed and are not taken"))
        #expect(server.errors.contains("server.pem"))
        #expect(try certificates.commonName(at: server.target) == "server")
        for name in ["second", "third"] {
          try certificates.replace("server", with: name)
          #expect(server.waitForErrors("TLS 1.3 as CN = \(name)"))
          #expect(try certificates.commonName(at: server.target) == name)
        }
        #expect(try session.receiveAllAfterStart() == [1, 2, 3, 4])
      }
    }

    @Test func `bad files end the start with one line that names them`() throws {
      let certificate = certificates.pem("server")
      let key = certificates.key("client")
      let start = ["serve", "--model", TestModel.tiny, "--tls-certificate", certificate]
      let wrong = try SilicaCommand.run(start + ["--tls-key", key])
      #expect(wrong.status == 1)
      #expect(wrong.errorLines.count == 1 && wrong.errors.contains(key), "\(wrong.errors)")
      #expect(try SilicaCommand.run(start).status == 2)
      let none = try SilicaCommand.run(start + ["--tls-key", "/nowhere/key.pem"])
      #expect(none.status == 1 && none.errors.contains("cannot read /nowhere/key.pem"))
    }
  }
}

extension Session {
  /// Reads to the end of all generations; the numbers of those that finished at their length.
  fileprivate func receiveAllAfterStart() throws -> [UInt32] {
    try sendEnd()
    var finished: [UInt32] = []
    while let frame = try receive() {
      if case .finished(let message) = frame.frame, message.reason == .length {
        #expect(message.usage.generatedTokens == 4_000)
        finished.append(frame.generation)
      }
    }
    #expect(try finish().code == .ok)
    return finished.sorted()
  }
}
