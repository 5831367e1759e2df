// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Support

/// Which versions of TLS this process speaks.
package enum TLSVersion {
  /// Makes every TLS context made from now on, gRPC's included, refuse all versions below 1.3.
  ///
  /// C-core 1.51 has no public way to say so: it asks for "1.2 or newer" itself, which also undoes
  /// a `MinProtocol` in openssl.cnf. But OpenSSL applies the section `system_default` of its
  /// configuration to each new context, and what `Protocol` switches off there is not switched on
  /// again by a minimum. The section is given to OpenSSL from memory, after the system's file and
  /// in place of the section in it; what else that file configures stays.
  package static func allowOnly13() throws(SecretsError) {
    guard isRestricted else {
      throw SecretsError(.internal, "OpenSSL did not take the restriction to TLS 1.3")
    }
  }

  private static let configuration = """
    openssl_conf = silica
    [silica]
    ssl_conf = versions
    [versions]
    system_default = only_13
    [only_13]
    Protocol = -SSLv3,-TLSv1,-TLSv1.1,-TLSv1.2
    CipherString = DEFAULT@SECLEVEL=2
    """

  /// Done once in a process; whether it worked, as a context made afterwards shows.
  private static let isRestricted: Bool = {
    // The system's file first, which otherwise would be read later and replace the section.
    OPENSSL_init_ssl(UInt64(OPENSSL_INIT_LOAD_CONFIG), nil)
    let input = OpenSSLStream(configuration.utf8)
    let tree = NCONF_new(nil)
    defer { NCONF_free(tree) }
    guard NCONF_load_bio(tree, input.handle, nil) == 1, CONF_modules_load(tree, nil, 0) == 1 else {
      OpenSSLErrors.clear()
      return false
    }
    let context = SSL_CTX_new(TLS_method())
    defer { SSL_CTX_free(context) }
    return copenssl_speaks_only_tls13(context) != 0
  }()
}
