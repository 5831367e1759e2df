// SPDX-License-Identifier: Apache-2.0
// OpenSSL 3, and the few macros of it that Swift cannot see. No policy.
#pragma once
// First, for the reason that CGRPC/shim.h gives.
#include <stdint.h>

#include <openssl/bio.h>
#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/// Whether a context of TLS refuses every version below 1.3.
static inline int copenssl_speaks_only_tls13(SSL_CTX *context) {
  const uint64_t older = SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2;
  const uint64_t options = SSL_CTX_get_options(context);
  return (options & older) == older && (options & SSL_OP_NO_TLSv1_3) == 0;
}

/// Whether an error says that a PEM text holds no further block of the kind asked for.
static inline int copenssl_is_end_of_pem(unsigned long error) {
  return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/// Takes a reference of its own. Returns 1 on success.
static inline long copenssl_add_chain_certificate(SSL_CTX *context, X509 *certificate) {
  return SSL_CTX_add1_chain_cert(context, certificate);
}

/// Prints the subject on one line, in UTF-8: CN = localhost, O = Example.
static inline void copenssl_print_subject(BIO *output, const X509 *certificate) {
  X509_NAME_print_ex(
      output, X509_get_subject_name(certificate), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
}
