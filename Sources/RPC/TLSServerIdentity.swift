// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
package import Secrets
internal import Synchronization

/// What a server uses in its TLS handshakes. It may be replaced while the server runs: handshakes
/// from then on use the new one, and connections that exist go on. Any thread.
package final class TLSServerIdentity: Sendable {
  private struct Content {
    var identity: CertificateIdentity
    var clientAuthorities: CertificateAuthorities?
    /// Counts the replacements.
    var version = 1
  }

  private let content: Mutex<Content>
  /// Whether a client must have a certificate that one of the authorities has signed. Stays.
  package let requiresClientCertificate: Bool

  package init(
    _ identity: CertificateIdentity, clientAuthorities: CertificateAuthorities? = nil
  ) throws(SecretsError) {
    try TLSVersion.allowOnly13()
    content = Mutex(Content(identity: identity, clientAuthorities: clientAuthorities))
    requiresClientCertificate = clientAuthorities != nil
  }

  /// What was given first decides whether clients need a certificate.
  package func replace(
    _ identity: CertificateIdentity, clientAuthorities: CertificateAuthorities? = nil
  ) {
    content.withLock { content in
      content.identity = identity
      if requiresClientCertificate, let clientAuthorities {
        content.clientAuthorities = clientAuthorities
      }
      content.version += 1
    }
  }

  /// Credentials of one port; owned by the caller.
  func makeCredentials() -> OpaquePointer? {
    let request =
      requiresClientCertificate
      ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
      : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
    // C-core does not say when it asks for the last time, so what it asks is never freed: a few
    // words for each port that was ever listened on.
    let feed = Unmanaged.passRetained(CertificateFeed(self)).toOpaque()
    let options = grpc_ssl_server_credentials_create_options_using_config_fetcher(
      request, fetchCertificates, feed)
    return grpc_ssl_server_credentials_create_with_options(options)
  }

  /// The content in C-core's form, owned by the caller, if it is newer than `version`, which is
  /// brought up to date.
  fileprivate func takeConfiguration(newerThan version: inout Int) -> OpaquePointer? {
    content.withLock { content in
      guard content.version > version else { return nil }
      version = content.version
      return content.identity.withKeyPair { pair in
        withUnsafePointer(to: pair) { pair in
          // C-core stops the process at a configuration without authorities, also where nobody is
          // asked for a certificate; then the server's own stands there and is not used.
          let authorities = content.clientAuthorities?.pem ?? content.identity.certificatePEM
          return authorities.withUnsafeBufferPointer {
            grpc_ssl_server_certificate_config_create($0.baseAddress, pair, 1)
          }
        }
      }
    }
  }
}

/// What one port has been given of an identity. C-core asks it at every handshake.
private final class CertificateFeed: Sendable {
  let identity: TLSServerIdentity
  let version = Mutex(0)

  init(_ identity: TLSServerIdentity) {
    self.identity = identity
  }
}

/// Runs on whichever thread does a handshake, under C-core's lock of the port.
private let fetchCertificates: grpc_ssl_server_certificate_config_callback = { context, result in
  guard let context, let result else { return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL }
  let feed = Unmanaged<CertificateFeed>.fromOpaque(context).takeUnretainedValue()
  let configuration = feed.version.withLock { version in
    feed.identity.takeConfiguration(newerThan: &version)
  }
  guard let configuration else { return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED }
  result.pointee = configuration
  return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
}
