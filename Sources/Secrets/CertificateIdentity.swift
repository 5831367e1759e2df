// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Support

/// A certificate with its chain and its private key, checked to be usable now.
package struct CertificateIdentity: Sendable {
  /// As in the files; each ends with a zero byte, as C wants it.
  package let certificatePEM: [CChar]
  package let keyPEM: [CChar]
  /// As in `CN = localhost`.
  package let subject: String
  /// As in `Nov 24 10:47:00 2030 GMT`.
  package let validUntil: String
  package let secondsLeft: Int
  package let isKeyReadableByOthers: Bool

  /// Reads both files and checks that they are PEM, that the key is the certificate's, that the
  /// certificate is valid at this time, and that OpenSSL takes both for TLS.
  package init(certificateFile: String, keyFile: String) throws(SecretsError) {
    let certificateText = try SecretFile(certificateFile)
    let keyText = try SecretFile(keyFile)
    let chain = try CertificateList(certificateText)
    let leaf = chain.certificates[0]
    let validity = Validity(leaf)
    guard validity.hasBegun else {
      throw SecretsError(
        .failedPrecondition,
        "\(certificateFile): the certificate is not valid before \(validity.begin)")
    }
    guard validity.secondsLeft > 0 else {
      throw SecretsError(
        .failedPrecondition, "\(certificateFile): the certificate expired on \(validity.end)")
    }
    try Self.check(chain, certificateFile, key: keyText)
    certificatePEM = certificateText.cString
    keyPEM = keyText.cString
    subject = Secrets.subject(of: leaf)
    validUntil = validity.end
    secondsLeft = validity.secondsLeft
    isKeyReadableByOthers = keyText.isReadableByOthers
  }

  /// Puts them into a context of TLS as C-core will, because C-core says only that it failed.
  private static func check(
    _ chain: borrowing CertificateList, _ certificateFile: String, key keyFile: SecretFile
  ) throws(SecretsError) {
    let key = try privateKey(keyFile)
    defer { EVP_PKEY_free(key) }
    let leaf = chain.certificates[0]
    guard X509_check_private_key(leaf, key) == 1 else {
      OpenSSLErrors.clear()
      throw SecretsError(
        .invalidArgument,
        "\(keyFile.path): the key is not that of the certificate in \(certificateFile)")
    }
    let context = SSL_CTX_new(TLS_server_method())
    defer { SSL_CTX_free(context) }
    guard SSL_CTX_use_certificate(context, leaf) == 1 else { throw refused(certificateFile) }
    guard SSL_CTX_use_PrivateKey(context, key) == 1 else { throw refused(keyFile.path) }
    for certificate in chain.certificates.dropFirst() {
      guard copenssl_add_chain_certificate(context, certificate) == 1 else {
        throw refused(certificateFile)
      }
    }
  }

  private static func refused(_ path: String) -> SecretsError {
    SecretsError(
      .invalidArgument, "\(path): OpenSSL refuses it for TLS (\(OpenSSLErrors.takeLatest()))")
  }

  private static func privateKey(_ file: SecretFile) throws(SecretsError) -> OpaquePointer {
    OpenSSLErrors.clear()
    let input = OpenSSLStream(file.bytes)
    if let key = PEM_read_bio_PrivateKey(input.handle, nil, refusePassphrase, nil) { return key }
    let reason = OpenSSLErrors.takeLatest()
    let isEncrypted = String(decoding: file.bytes, as: UTF8.self).contains("ENCRYPTED")
    throw SecretsError(
      .invalidArgument,
      isEncrypted
        ? "\(file.path): the key is encrypted; expected one without a pass phrase"
        : "\(file.path): no private key in it (\(reason)); expected PEM, "
          + "'-----BEGIN PRIVATE KEY-----'")
  }
}
