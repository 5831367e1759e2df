// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "caccept.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  // The highest descriptor that is looked after.
  DESCRIPTOR_MAX = 1 << 20,
  // While all places are taken they are counted again this often at most, and for a twentieth of
  // the time at most, so that a flood of connections cannot make the counting a load.
  RECOUNT_NANOSECONDS = 20 * 1000 * 1000,
  RECOUNT_SHARE = 20,
  // Another thread may take the descriptor that was freed; then again.
  SHED_ATTEMPTS = 3,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
// All below is guarded by it.
static uint32_t limit;
static ino_t *inodes;        // of the accepted socket with that descriptor; 0 if none
static size_t inode_count;   // descriptors that `inodes` has room for
static size_t inode_end;     // beyond the highest one in use
static uint32_t open_count;  // nonzero inodes
static uint64_t next_recount;
static uint64_t over_limit_count;
static uint64_t no_descriptor_count;
static int reserve = -1;

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int system_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags) {
  return (int)syscall(SYS_accept4, listener, address, length, flags);
}

// The inode tells a socket from what has its descriptor's number after it was closed.
static ino_t socket_inode(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0 || !S_ISSOCK(status.st_mode)) return 0;
  return status.st_ino;
}

static void recount(void) {
  const uint64_t begin = now();
  size_t end = 0;
  open_count = 0;
  for (size_t descriptor = 0; descriptor < inode_end; descriptor++) {
    if (inodes[descriptor] == 0) continue;
    if (socket_inode((int)descriptor) == inodes[descriptor]) {
      open_count++;
      end = descriptor + 1;
    } else {
      inodes[descriptor] = 0;
    }
  }
  inode_end = end;
  const uint64_t cost = (now() - begin) * RECOUNT_SHARE;
  next_recount = now() + (cost > RECOUNT_NANOSECONDS ? cost : RECOUNT_NANOSECONDS);
}

// Whether a new connection has a place.
static int admit(int descriptor) {
  pthread_mutex_lock(&lock);
  int is_admitted = 1;
  if (limit > 0) {
    if (open_count >= limit && now() >= next_recount) recount();
    is_admitted = open_count < limit && (size_t)descriptor < inode_count;
    if (is_admitted) {
      // A descriptor that is accepted anew was closed before.
      if (inodes[descriptor] == 0) open_count++;
      inodes[descriptor] = socket_inode(descriptor);
      if (inode_end <= (size_t)descriptor) inode_end = (size_t)descriptor + 1;
    } else {
      over_limit_count++;
    }
  }
  pthread_mutex_unlock(&lock);
  return is_admitted;
}

static void keep_reserve(void) {
  if (reserve < 0) reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

// Closes one waiting connection with the descriptor in reserve. Returns whether one was closed.
static int shed(int listener) {
  int is_shed = 0;
  pthread_mutex_lock(&lock);
  for (int attempt = 0; attempt < SHED_ATTEMPTS && !is_shed; attempt++) {
    keep_reserve();
    if (reserve < 0) break;
    close(reserve);
    reserve = -1;
    const int descriptor = system_accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    const int error = errno;
    if (descriptor >= 0) {
      close(descriptor);
      no_descriptor_count++;
      is_shed = 1;
    }
    keep_reserve();
    if (descriptor < 0 && error != EMFILE && error != ENFILE) break;
  }
  pthread_mutex_unlock(&lock);
  return is_shed;
}

// What accept(2) says may come from the network of the one connection, which is gone then.
static int is_of_the_connection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EINTR:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPERM:
    case EPROTO:
      return 1;
    default:
      return 0;
  }
}

// Whether the client has closed the connection already, maybe behind some bytes. C-core ends it as
// soon as it sees that; all that it would set up before is in vain, and under a flood of such
// connections the others would wait for that.
static int is_gone(int descriptor) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_state != TCP_ESTABLISHED;
}

// Named and exported as glibc's, for shared libraries to find.
__attribute__((visibility("default"), used)) int accept4(
    int listener, struct sockaddr *address, socklen_t *length, int flags) {
  const socklen_t room = length ? *length : 0;
  pthread_mutex_lock(&lock);
  keep_reserve();
  pthread_mutex_unlock(&lock);
  for (;;) {
    if (length) *length = room;
    const int descriptor = system_accept4(listener, address, length, flags);
    if (descriptor >= 0) {
      if (!is_gone(descriptor) && admit(descriptor)) return descriptor;
      close(descriptor);
    } else if (errno == EMFILE || errno == ENFILE) {
      if (shed(listener)) continue;
      errno = EAGAIN;
      return -1;
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      errno = EAGAIN;
      return -1;
    } else if (!is_of_the_connection(errno)) {
      return -1;
    }
  }
}

int caccept_is_used(void) { return dlsym(RTLD_DEFAULT, "accept4") == (void *)accept4; }

int caccept_set_limit(uint32_t connections) {
  pthread_mutex_lock(&lock);
  int error = 0;
  if (connections > 0 && inodes == NULL) {
    struct rlimit descriptors;
    inode_count = DESCRIPTOR_MAX;
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_max < inode_count) {
      inode_count = descriptors.rlim_max;
    }
    inodes = calloc(inode_count, sizeof *inodes);
    if (inodes == NULL) error = ENOMEM;
  }
  if (error == 0) limit = connections;
  pthread_mutex_unlock(&lock);
  return error;
}

caccept_counts caccept_read_counts(void) {
  pthread_mutex_lock(&lock);
  const caccept_counts counts = {
      .over_limit = over_limit_count, .no_descriptor = no_descriptor_count};
  pthread_mutex_unlock(&lock);
  return counts;
}
