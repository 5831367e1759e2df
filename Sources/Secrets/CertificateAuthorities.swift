// SPDX-License-Identifier: Apache-2.0

/// Who may have signed the certificate of a peer: PEM certificates, checked to be readable.
package struct CertificateAuthorities: Sendable {
  package let path: String
  /// As in the file; ends with a zero byte, as C wants it.
  package let pem: [CChar]
  package let count: Int

  /// Debian's bundle of the authorities that browsers trust, for servers on the open internet.
  package static let systemPath = "/etc/ssl/certs/ca-certificates.crt"

  package init(file path: String) throws(SecretsError) {
    let file = try SecretFile(path)
    count = try CertificateList(file).certificates.count
    self.path = path
    pem = file.cString
  }
}

extension SecretFile {
  /// The bytes with a zero after them. PEM is text, so none of its own can end it early but in a
  /// comment, where it does no harm.
  var cString: [CChar] { bytes.map { CChar(bitPattern: $0) } + [0] }
}
