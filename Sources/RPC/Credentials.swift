// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
package import Secrets

/// How a server proves itself to its clients, and whom it lets connect.
package enum ServerCredentials: Sendable {
  /// Plain HTTP/2.
  case insecure
  /// TLS 1.3 with what the identity holds at the time of each handshake.
  case tls(TLSServerIdentity)

  /// An owned C object; the caller releases it.
  func makeHandle() -> OpaquePointer? {
    switch self {
    case .insecure: grpc_insecure_server_credentials_create()
    case .tls(let identity): identity.makeCredentials()
    }
  }
}

/// How a client checks its server, and proves itself to it.
package enum ChannelCredentials: Sendable {
  /// Plain HTTP/2.
  case insecure
  /// TLS 1.3 with a server whose certificate one of the authorities has signed.
  case tls(TLSClientOptions)

  /// An owned C object; the caller releases it.
  func makeHandle() -> OpaquePointer? {
    switch self {
    case .insecure: grpc_insecure_credentials_create()
    case .tls(let options): options.makeCredentials()
    }
  }
}

/// What a client needs for TLS.
package struct TLSClientOptions: Sendable {
  package var authorities: CertificateAuthorities
  /// Shown to a server that asks for one.
  package var identity: CertificateIdentity?
  /// The name that the server's certificate must have, if it is not that of the address.
  package var serverName: String?

  package init(
    authorities: CertificateAuthorities, identity: CertificateIdentity? = nil,
    serverName: String? = nil
  ) throws(SecretsError) {
    try TLSVersion.allowOnly13()
    self.authorities = authorities
    self.identity = identity
    self.serverName = serverName
  }

  func makeCredentials() -> OpaquePointer? {
    authorities.pem.withUnsafeBufferPointer { authorities in
      guard let identity else {
        return grpc_ssl_credentials_create_ex(authorities.baseAddress, nil, nil, nil)
      }
      return identity.withKeyPair { pair in
        var pair = pair
        return grpc_ssl_credentials_create_ex(authorities.baseAddress, &pair, nil, nil)
      }
    }
  }
}

extension CertificateIdentity {
  /// Lends both texts in C-core's form.
  func withKeyPair<Result>(_ body: (grpc_ssl_pem_key_cert_pair) -> Result) -> Result {
    keyPEM.withUnsafeBufferPointer { key in
      certificatePEM.withUnsafeBufferPointer { certificate in
        body(
          grpc_ssl_pem_key_cert_pair(
            private_key: key.baseAddress, cert_chain: certificate.baseAddress))
      }
    }
  }
}
