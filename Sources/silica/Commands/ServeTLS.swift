// SPDX-License-Identifier: Apache-2.0

import RPC
import Secrets

/// TLS of `silica serve`: files from its options, checked at start and taken again when they
/// change.
struct ServeTLS {
  static let options = [
    Option("--tls-certificate", "FILE", "serve TLS 1.3 with this certificate, then its chain"),
    Option("--tls-key", "FILE", "its private key, as PEM"),
    Option("--tls-client-ca", "FILE", "clients need a certificate signed by one of these"),
  ]

  private let certificateFile: String
  private let keyFile: String
  private let clientAuthorityFile: String?
  private var watch: FileWatch
  private let identity: TLSServerIdentity
  /// Warn when a certificate ends within this time.
  private static let warningSeconds = 7 * 86_400

  /// Nil if the options ask for none.
  init?(_ arguments: Arguments) throws {
    clientAuthorityFile = arguments.string("--tls-client-ca")
    let files = (arguments.string("--tls-certificate"), arguments.string("--tls-key"))
    guard let certificateFile = files.0, let keyFile = files.1 else {
      guard files.0 == nil, files.1 == nil else {
        throw UsageError("--tls-certificate and --tls-key go together")
      }
      guard clientAuthorityFile == nil else {
        throw UsageError("--tls-client-ca needs --tls-certificate and --tls-key")
      }
      return nil
    }
    self.certificateFile = certificateFile
    self.keyFile = keyFile
    watch = FileWatch([certificateFile, keyFile] + [clientAuthorityFile].compactMap(\.self))
    let certificate = try CertificateIdentity(certificateFile: certificateFile, keyFile: keyFile)
    identity = try TLSServerIdentity(
      certificate, clientAuthorities: try Self.authorities(clientAuthorityFile))
    report(certificate)
  }

  var credentials: ServerCredentials { .tls(identity) }

  /// Looks whether the files have changed; about once a second. New connections then use the new
  /// ones, and if those are no good, the old ones as before.
  mutating func refresh() {
    guard watch.haveChanged() else { return }
    do {
      let certificate = try CertificateIdentity(certificateFile: certificateFile, keyFile: keyFile)
      identity.replace(
        certificate, clientAuthorities: try Self.authorities(clientAuthorityFile))
      report(certificate)
    } catch {
      Console.error("silica: TLS files have changed and are not taken: \(error.message)\n")
    }
  }

  private static func authorities(
    _ path: String?
  ) throws(SecretsError) -> CertificateAuthorities? {
    guard let path else { return nil }
    return try CertificateAuthorities(file: path)
  }

  private func report(_ certificate: CertificateIdentity) {
    Console.error(
      "silica: TLS 1.3 as \(certificate.subject), valid until \(certificate.validUntil)"
        + (clientAuthorityFile == nil ? "\n" : "; clients need a certificate\n"))
    if certificate.secondsLeft < Self.warningSeconds {
      Console.error(
        "silica: warning: \(certificateFile) expires in \(certificate.secondsLeft / 3_600) hours\n")
    }
    if certificate.isKeyReadableByOthers {
      Console.error("silica: warning: \(keyFile) may be read by every user; expected mode 600\n")
    }
  }
}
