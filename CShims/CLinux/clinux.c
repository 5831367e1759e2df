// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

void clinux_set_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }

int clinux_set_thread_cpus(const uint64_t *bits, size_t words) {
  return sched_setaffinity(0, words * sizeof *bits, (const cpu_set_t *)bits) == 0 ? 0 : errno;
}

uint64_t clinux_allocated_bytes(void) {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

void clinux_trim_memory(void) { malloc_trim(0); }

int clinux_get_thread_cpus(uint64_t *bits, size_t words) {
  memset(bits, 0, words * sizeof *bits);
  return sched_getaffinity(0, words * sizeof *bits, (cpu_set_t *)bits) == 0 ? 0 : errno;
}

// `struct sched_attr`, first version: older C libraries do not have it.
struct thread_scheduling {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};

int clinux_set_thread_slice(uint64_t nanoseconds) {
  struct thread_scheduling thread = {0};
  if (syscall(SYS_sched_getattr, 0, &thread, sizeof thread, 0) != 0) return errno;
  thread.runtime = nanoseconds;
  return syscall(SYS_sched_setattr, 0, &thread, 0) == 0 ? 0 : errno;
}

int clinux_send_message(int socket, const void *bytes, size_t count, int descriptor) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct iovec part = {(void *)bytes, count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

ptrdiff_t clinux_receive_message(int socket, void *bytes, size_t room, int *descriptor) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {bytes, room};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
      .msg_controllen = sizeof control.bytes};
  *descriptor = -1;
  ssize_t received;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return -errno;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
  }
  return received;
}

int clinux_get_peer(int socket, uint32_t *user, int32_t *process) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return errno;
  *user = peer.uid;
  *process = peer.pid;
  return 0;
}
