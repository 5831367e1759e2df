// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Support

/// The certificates of one PEM text, in order. Owns OpenSSL's objects.
struct CertificateList: ~Copyable {
  private(set) var certificates: [OpaquePointer] = []

  /// Reads all certificates of a file; at least one must be there, and none be damaged.
  init(_ file: SecretFile) throws(SecretsError) {
    OpenSSLErrors.clear()
    let input = OpenSSLStream(file.bytes)
    while let certificate = PEM_read_bio_X509_AUX(input.handle, nil, refusePassphrase, nil) {
      certificates.append(certificate)
    }
    let isAtEnd = copenssl_is_end_of_pem(ERR_peek_last_error()) != 0
    let reason = OpenSSLErrors.takeLatest()
    guard isAtEnd else {
      throw SecretsError(
        .invalidArgument,
        "\(file.path): certificate \(certificates.count + 1) cannot be read (\(reason))")
    }
    guard !certificates.isEmpty else {
      throw SecretsError(
        .invalidArgument,
        "\(file.path): no certificate in it; expected PEM, '-----BEGIN CERTIFICATE-----'")
    }
  }

  deinit {
    for certificate in certificates { X509_free(certificate) }
  }
}

/// Answers a question for a pass phrase, which OpenSSL would put to the terminal: there is none.
let refusePassphrase:
  @convention(c) (
    UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?
  ) -> Int32 = { _, _, _, _ in -1 }

/// When a certificate is valid, for people and for decisions.
struct Validity {
  let begin: String
  let end: String
  let hasBegun: Bool
  /// Negative once it has ended.
  let secondsLeft: Int

  init(_ certificate: OpaquePointer) {
    begin = Self.text(X509_get0_notBefore(certificate))
    end = Self.text(X509_get0_notAfter(certificate))
    hasBegun = X509_cmp_time(X509_get0_notBefore(certificate), nil) < 0
    var (days, seconds): (Int32, Int32) = (0, 0)
    let isReadable = ASN1_TIME_diff(&days, &seconds, nil, X509_get0_notAfter(certificate)) == 1
    secondsLeft = isReadable ? Int(days) * 86_400 + Int(seconds) : -1
  }

  private static func text(_ time: UnsafePointer<ASN1_TIME>?) -> String {
    let output = OpenSSLStream()
    ASN1_TIME_print(output.handle, time)
    return output.text()
  }
}

/// The subject of a certificate, as in `CN = localhost, O = Example`.
func subject(of certificate: OpaquePointer) -> String {
  let output = OpenSSLStream()
  copenssl_print_subject(output.handle, certificate)
  return output.text()
}
