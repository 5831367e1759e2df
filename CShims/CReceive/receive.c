// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "creceive.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  // The highest descriptor that is observed.
  DESCRIPTOR_MAX = 1 << 20,
};

static _Atomic(const creceive_observer *) observer;
// By descriptor; NULL if nothing has come. Pages of it are made as descriptors are used.
static _Atomic(void *) connections[DESCRIPTOR_MAX];
static int ssl_index;  // of the connection in an SSL's extra data; set before `observer`
static int (*system_ssl_read)(SSL *, void *, int);

__attribute__((constructor)) static void find_ssl_read(void) {
  system_ssl_read = (int (*)(SSL *, void *, int))dlsym(RTLD_NEXT, "SSL_read");
}

// Whether the connection may go on. Only its reader is here, and its closer comes after it.
static int show(const creceive_observer *told, int descriptor, const struct msghdr *message,
                size_t count) {
  if (descriptor >= DESCRIPTOR_MAX) return 1;
  void *connection = atomic_load_explicit(&connections[descriptor], memory_order_acquire);
  if (connection == NULL) {
    connection = told->opened();
    atomic_store_explicit(&connections[descriptor], connection, memory_order_release);
  }
  for (const struct iovec *part = message->msg_iov; count > 0; part++) {
    const size_t size = part->iov_len < count ? part->iov_len : count;
    if (!told->received(connection, part->iov_base, size)) return 0;
    count -= size;
  }
  return 1;
}

// These three are named and exported as those of the libraries, for other libraries to find.

__attribute__((visibility("default"), used)) ssize_t recvmsg(
    int descriptor, struct msghdr *message, int flags) {
  const ssize_t count = syscall(SYS_recvmsg, descriptor, message, flags);
  const creceive_observer *const told = observer;
  // With flags, it is not the stream's next bytes that are asked for.
  if (count <= 0 || flags != 0 || told == NULL) return count;
  if (show(told, descriptor, message, (size_t)count)) return count;
  errno = ECONNRESET;
  return -1;
}

__attribute__((visibility("default"), used)) int close(int descriptor) {
  if (descriptor >= 0 && descriptor < DESCRIPTOR_MAX &&
      atomic_load_explicit(&connections[descriptor], memory_order_relaxed) != NULL) {
    void *const connection = atomic_exchange(&connections[descriptor], NULL);
    if (connection != NULL) observer->closed(connection);
  }
  return (int)syscall(SYS_close, descriptor);
}

__attribute__((visibility("default"), used)) int SSL_read(SSL *ssl, void *buffer, int size) {
  const int count = system_ssl_read(ssl, buffer, size);
  const creceive_observer *const told = observer;
  if (count <= 0 || told == NULL || !SSL_is_server(ssl)) return count;
  void *connection = SSL_get_ex_data(ssl, ssl_index);
  if (connection == NULL) {
    connection = told->opened();
    if (!SSL_set_ex_data(ssl, ssl_index, connection)) {
      told->closed(connection);
      return -1;  // OpenSSL is out of memory, and has said so.
    }
  }
  if (told->received(connection, buffer, (size_t)count)) return count;
  ERR_raise(ERR_LIB_USER, ERR_R_OPERATION_FAIL);
  return -1;
}

static void ssl_freed(void *ssl, void *connection, CRYPTO_EX_DATA *data, int index, long number,
                      void *pointer) {
  (void)ssl, (void)data, (void)index, (void)number, (void)pointer;
  if (connection != NULL) observer->closed(connection);
}

int creceive_is_used(void) {
  return dlsym(RTLD_DEFAULT, "recvmsg") == (void *)recvmsg &&
         dlsym(RTLD_DEFAULT, "close") == (void *)close &&
         dlsym(RTLD_DEFAULT, "SSL_read") == (void *)SSL_read;
}

int creceive_observe(const creceive_observer *told) {
  ssl_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, ssl_freed);
  if (ssl_index < 0) return 0;
  observer = told;
  return 1;
}
