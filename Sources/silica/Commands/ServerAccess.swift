// SPDX-License-Identifier: Apache-2.0

import Glibc
import RPC
import Secrets

/// How a command reaches a server: its address, TLS, and the token to show.
struct ServerAccess {
  static let options = [
    Option("--tls-ca", "FILE", "use TLS; the server's certificate is signed by one of these (PEM)"),
    Option("--tls", nil, "use TLS with the system's authorities"),
    Option("--tls-certificate", "FILE", "the client's own certificate (PEM)"),
    Option("--tls-key", "FILE", "its private key (PEM)"),
    Option("--tls-server-name", "NAME", "the name in the server's certificate", default: "HOST"),
    Option("--token-file", "FILE", "a file with the API token", default: "$SILICA_TOKEN"),
  ]

  let address: Address
  let credentials: ChannelCredentials
  /// The token, as every call carries it.
  let metadata: Metadata

  init(_ address: Address, _ arguments: Arguments) throws {
    self.address = address
    let tls = try Self.tls(arguments)
    credentials = tls.map { .tls($0) } ?? .insecure
    metadata = try Self.metadata(arguments)
    if tls == nil, !metadata.entries.isEmpty, !address.isLoopback {
      Console.error("silica: warning: the token goes to \(address) unprotected; use --tls-ca\n")
    }
  }

  /// Plain and without a token, as to a server in this process.
  init(plain address: Address) {
    self.address = address
    credentials = .insecure
    metadata = Metadata()
  }

  private static func tls(_ arguments: Arguments) throws -> TLSClientOptions? {
    let files = (arguments.string("--tls-certificate"), arguments.string("--tls-key"))
    guard (files.0 == nil) == (files.1 == nil) else {
      throw UsageError("--tls-certificate and --tls-key go together")
    }
    guard arguments.has("--tls") || arguments.has("--tls-ca") else {
      guard files.0 == nil, !arguments.has("--tls-server-name") else {
        throw UsageError("TLS needs --tls-ca FILE, or --tls for the system's authorities")
      }
      return nil
    }
    var identity: CertificateIdentity?
    if let certificate = files.0, let key = files.1 {
      identity = try CertificateIdentity(certificateFile: certificate, keyFile: key)
    }
    let path = arguments.string("--tls-ca") ?? CertificateAuthorities.systemPath
    return try TLSClientOptions(
      authorities: try CertificateAuthorities(file: path), identity: identity,
      serverName: arguments.string("--tls-server-name"))
  }

  private static func metadata(_ arguments: Arguments) throws -> Metadata {
    var metadata = Metadata()
    var token: String?
    if let path = arguments.string("--token-file") {
      token = try SecretFile(path).text()
    } else if let value = getenv("SILICA_TOKEN") {
      token = String(cString: value)
    }
    guard var token else { return metadata }
    while token.last?.isWhitespace == true { token.removeLast() }
    guard !token.isEmpty else { throw CommandError("the token is empty") }
    try metadata.append("authorization", "Bearer \(token)")
    return metadata
  }
}

extension Address {
  /// Whether only this machine can listen in.
  var isLoopback: Bool { host == "localhost" || host == "::1" || host.hasPrefix("127.") }
}
