// SPDX-License-Identifier: Apache-2.0
// The `recvmsg`, `close` and `SSL_read` of this process, in the place of glibc's and OpenSSL's.
// They do what those do, and show an observer the bytes of each connection as gRPC C-core takes
// them in: 1.51 has no limit for some of what HTTP/2 allows, and tells nobody about it.
//
// Shared libraries find them because the dynamic linker looks into the program first.
#pragma once
#include <stddef.h>

/// Called on the thread that receives. The calls for one connection come one at a time.
typedef struct creceive_observer {
  /// The first bytes of a connection have come: of a socket, or decrypted ones of a TLS server's.
  /// Returns what stands for it in the other calls; not NULL.
  void *(*opened)(void);
  /// These bytes have come next. Returns 0 if the connection must end; then its owner gets an error
  /// in their place.
  int (*received)(void *connection, const void *bytes, size_t count);
  /// Nothing more will come.
  void (*closed)(void *connection);
} creceive_observer;

/// Whether shared libraries call these functions.
int creceive_is_used(void);

/// Has `observer`, which must live for ever, called from now on. Once. Returns 0 if OpenSSL has no
/// place for it.
int creceive_observe(const creceive_observer *observer);
