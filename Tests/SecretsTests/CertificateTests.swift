// SPDX-License-Identifier: Apache-2.0

import Foundation
import Secrets
import TestSupport
import Testing

/// Files of certificates: good ones are taken, bad ones named.
@Suite struct CertificateTests {
  private let certificates: TestCertificates

  init() throws {
    certificates = try TestCertificates()
    try certificates.make("server")
  }

  /// The message that a pair of files is refused with.
  private func refusal(certificate: String, key: String) -> String? {
    do {
      _ = try CertificateIdentity(certificateFile: certificate, keyFile: key)
      return nil
    } catch {
      return error.message
    }
  }

  private func file(_ name: String, _ text: String) throws -> String {
    let path = certificates.folder.path(name)
    try Data(text.utf8).write(to: URL(filePath: path))
    return path
  }

  @Test func `a certificate and its key are taken`() throws {
    let identity = try CertificateIdentity(
      certificateFile: certificates.pem("server"), keyFile: certificates.key("server"))
    #expect(identity.subject == "CN = server")
    #expect(identity.validUntil.hasSuffix("GMT"))
    #expect((29 * 86_400...30 * 86_400).contains(identity.secondsLeft))
  }

  @Test func `a chain is taken with its leaf first`() throws {
    let chain = try ["server", "ca"].map {
      try String(contentsOfFile: certificates.pem($0), encoding: .utf8)
    }
    let path = try file("chain.pem", chain.joined())
    let key = certificates.key("server")
    #expect(try CertificateIdentity(certificateFile: path, keyFile: key).subject == "CN = server")
    let reversed = try file("reversed.pem", chain.reversed().joined())
    #expect(refusal(certificate: reversed, key: key)?.contains("not that of") == true)
  }

  @Test func `what is not valid now is refused with the date`() throws {
    try certificates.make("expired", days: -1)
    let message = refusal(
      certificate: certificates.pem("expired"), key: certificates.key("expired"))
    #expect(message?.contains("expired.pem: the certificate expired on ") == true)
  }

  @Test func `a key of another certificate is refused, both files named`() throws {
    try certificates.make("other")
    let message = refusal(certificate: certificates.pem("server"), key: certificates.key("other"))
    #expect(message?.contains("other.key: the key is not that of the certificate in") == true)
    #expect(message?.contains("server.pem") == true)
  }

  @Test func `a key too short for TLS is refused`() throws {
    let request = certificates.folder.path("weak.csr")
    try certificates.openssl([
      "req", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak", "-keyout",
      certificates.key("weak"), "-out", request,
    ])
    try certificates.openssl([
      "x509", "-req", "-in", request, "-CA", certificates.pem("ca"), "-CAkey",
      certificates.key("ca"), "-days", "3", "-out", certificates.pem("weak"),
    ])
    let message = refusal(certificate: certificates.pem("weak"), key: certificates.key("weak"))
    #expect(message?.contains("weak.pem: OpenSSL refuses it for TLS (ee key too small)") == true)
  }

  @Test func `files that hold something else are refused`() throws {
    let (good, key) = (certificates.pem("server"), certificates.key("server"))
    let none = certificates.folder.path("none")
    #expect(refusal(certificate: none, key: key)?.contains("cannot read \(none): No such") == true)
    #expect(refusal(certificate: good, key: none)?.contains("cannot read \(none): No such") == true)
    let text = try file("text", "hello")
    #expect(refusal(certificate: text, key: key)?.contains("no certificate in it") == true)
    #expect(refusal(certificate: good, key: text)?.contains("no private key in it") == true)
    #expect(refusal(certificate: key, key: key)?.contains("no certificate in it") == true)
    #expect(
      refusal(certificate: certificates.folder.path, key: key)?.contains("Is a directory") == true)
    let whole = try String(contentsOfFile: good, encoding: .utf8)
    let half = try file("half.pem", String(whole.prefix(whole.count / 2)))
    #expect(refusal(certificate: half, key: key)?.contains("half.pem") == true)
    let damaged = try file("damaged.pem", whole + whole.replacing("M", with: "N"))
    #expect(refusal(certificate: damaged, key: key)?.contains("certificate 2 cannot be") == true)
    let large = try file("large", String(repeating: "x", count: SecretFile.byteCountMax + 1))
    #expect(refusal(certificate: large, key: key)?.contains("larger than") == true)
  }

  @Test func `a key with a pass phrase is refused and nobody is asked for it`() throws {
    let path = certificates.folder.path("locked.key")
    try certificates.openssl([
      "pkey", "-in", certificates.key("server"), "-aes256", "-passout", "pass:secret", "-out", path,
    ])
    let message = refusal(certificate: certificates.pem("server"), key: path)
    #expect(message?.contains("locked.key: the key is encrypted") == true)
  }

  @Test func `authorities are counted, and an empty file is none`() throws {
    let one = try String(contentsOfFile: certificates.pem("ca"), encoding: .utf8)
    let two = try file("two.pem", one + "\n# and again\n" + one)
    #expect(try CertificateAuthorities(file: two).count == 2)
    let empty = try file("empty.pem", "")
    #expect(throws: SecretsError.self) { try CertificateAuthorities(file: empty) }
  }
}
