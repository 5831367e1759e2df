// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Certificates made by the `openssl` command in a folder of their own, each as `NAME.pem` with its
/// key `NAME.key`. `ca` is there from the start.
package struct TestCertificates: Sendable {
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  package let folder: TemporaryDirectory

  package init() throws {
    folder = try TemporaryDirectory()
    try makeAuthority("ca")
  }

  /// The certificate's path.
  package func pem(_ name: String) -> String { folder.path("\(name).pem") }
  package func key(_ name: String) -> String { folder.path("\(name).key") }

  /// A certificate that signs others.
  package func makeAuthority(_ name: String) throws {
    try openssl(
      ["req", "-x509", "-days", "30", "-subj", "/CN=\(name)", "-out", pem(name)] + newKey(name))
  }

  /// A certificate for `localhost` and 127.0.0.1, and for clients, with this common name.
  package func make(_ name: String, signedBy authority: String = "ca", days: Int = 30) throws {
    let request = folder.path("\(name).csr")
    let extensions = folder.path("\(name).ext")
    try openssl(["req", "-subj", "/CN=\(name)", "-out", request] + newKey(name))
    try Data("subjectAltName=DNS:localhost,IP:127.0.0.1\n".utf8)
      .write(to: URL(filePath: extensions))
    try openssl([
      "x509", "-req", "-in", request, "-CA", pem(authority), "-CAkey", key(authority),
      "-CAcreateserial", "-days", "\(days)", "-extfile", extensions, "-out", pem(name),
    ])
  }

  /// Puts the files of one certificate in the place of another's, each at once.
  package func replace(_ name: String, with other: String) throws {
    for (source, target) in [(pem(other), pem(name)), (key(other), key(name))] {
      let copy = target + ".new"
      try Data(contentsOf: URL(filePath: source)).write(to: URL(filePath: copy))
      guard rename(copy, target) == 0 else { throw Failure(description: "cannot rename \(copy)") }
    }
  }

  private func newKey(_ name: String) -> [String] {
    ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key(name)]
  }

  /// Runs the `openssl` command and expects success.
  @discardableResult
  package func openssl(_ arguments: [String]) throws -> Command.Result {
    let result = try Command.run("/usr/bin/openssl", arguments)
    guard result.status == 0 else {
      throw Failure(description: "openssl \(arguments.joined(separator: " ")): \(result.errors)")
    }
    return result
  }

  /// What `openssl s_client` says of a handshake with a server, `option` being `-tls1_3` and such.
  package func handshake(with address: String, _ option: String) throws -> Command.Result {
    try Command.run(
      "/usr/bin/timeout",
      [
        "10", "openssl", "s_client", option, "-alpn", "h2", "-CAfile", pem("ca"), "-connect",
        address,
      ])
  }

  /// The common name that a server shows at this moment.
  package func commonName(at address: String) throws -> String? {
    let lines = try handshake(with: address, "-tls1_3").output.split(separator: "\n")
    return lines.first { $0.hasPrefix("subject=CN = ") }.map { String($0.dropFirst(13)) }
  }
}
