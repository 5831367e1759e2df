// SPDX-License-Identifier: Apache-2.0
// Pinned memory of the host: for copies, and, if it is mapped, for kernels. Mapped memory lies at
// two addresses: the host's, which no kernel may be given, and the kernels', where nothing is but
// while a kernel runs that was given it.
#include "driver_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace emulation;

namespace {

/// By the host's address; `address` is the kernels', 0 if it has none.
struct Pinned { size_t bytes; uint64_t address; };
std::map<char *, Pinned> pinned;
/// By the kernels' address.
std::map<uint64_t, size_t> mapped;

/// The piece that a place of the host's lies in, or null.
const std::pair<char *const, Pinned> *piece_of(const void *start, size_t bytes) {
  auto next = pinned.upper_bound((char *)start);
  if (next == pinned.begin()) return nullptr;
  --next;
  return (char *)start + bytes <= next->first + next->second.bytes ? &*next : nullptr;
}

/// Calls `body` with each word of an argument that may be an address.
template <class Body> void each_word(const std::vector<char> &argument, Body body) {
  for (size_t place = 0; place + 8 <= argument.size(); place += 8) {
    uint64_t word;
    memcpy(&word, argument.data() + place, 8);
    body(word);
  }
}

/// Pages of a file without a name, twice.
int map_twice(size_t bytes, void **host, uint64_t *address) {
  const int file = memfd_create("emulated mapped memory", MFD_CLOEXEC);
  if (file < 0) return out_of_memory;
  void *first = MAP_FAILED, *second = MAP_FAILED;
  if (ftruncate(file, (off_t)bytes) == 0) {
    first = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    second = mmap(nullptr, bytes, PROT_NONE, MAP_SHARED, file, 0);
  }
  close(file);
  if (first == MAP_FAILED || second == MAP_FAILED) return out_of_memory;
  // What nobody wrote is not a number.
  memset(first, 0xff, bytes);
  *host = first;
  *address = (uint64_t)second;
  return success;
}

/// The piece that a kernel's address lies in, or null.
const std::pair<const uint64_t, size_t> *mapped_piece(uint64_t address) {
  auto next = mapped.upper_bound(address);
  if (next == mapped.begin()) return nullptr;
  --next;
  return address - next->first < next->second ? &*next : nullptr;
}

void protect(const std::vector<char> &argument, int protection) {
  each_word(argument, [&](uint64_t word) {
    const auto *piece = mapped_piece(word);
    if (piece) mprotect((void *)piece->first, piece->second, protection);
  });
}

}  // namespace

bool emulation::is_pinned(const void *start, size_t bytes) { return piece_of(start, bytes); }

bool emulation::is_mapped(uint64_t address) { return mapped_piece(address); }

std::vector<uint64_t> emulation::usable_addresses(const std::vector<char> &argument) {
  std::vector<uint64_t> usable;
  each_word(argument, [&](uint64_t word) {
    if (is_on_device(word, 1) || is_mapped(word)) usable.push_back(word);
  });
  return usable;
}

bool emulation::has_host_address(const std::vector<char> &argument) {
  bool has = false;
  each_word(argument, [&](uint64_t word) { has |= is_pinned((void *)word, 1); });
  return has;
}

void emulation::open_mapped(const std::vector<char> &argument) {
  protect(argument, PROT_READ | PROT_WRITE);
}

void emulation::close_mapped(const std::vector<char> &argument) { protect(argument, PROT_NONE); }

extern "C" {

int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
  IN_CONTEXT;
  NOT_IN_CAPTURE("cuMemHostAlloc");
  // 1: for all contexts; 2: mapped.
  if (bytes == 0 || flags > 3) return invalid_value;
  const size_t whole = (bytes + 4095) / 4096 * 4096;
  uint64_t address = 0;
  if (flags & 2) {
    if (int code = map_twice(whole, memory, &address)) return code;
    mapped[address] = whole;
  } else {
    *memory = aligned_alloc(4096, whole);
    if (!*memory) return out_of_memory;
  }
  pinned[(char *)*memory] = {whole, address};
  return success;
}

int cuMemHostGetDevicePointer_v2(uint64_t *address, void *memory, unsigned flags) {
  IN_CONTEXT;
  const auto *piece = piece_of(memory, 1);
  if (!piece || !piece->second.address || flags != 0) return invalid_value;
  *address = piece->second.address + (uint64_t)((char *)memory - piece->first);
  return success;
}

int cuMemFreeHost(void *memory) {
  ALONE;
  if (Code no = lacks_context()) return no;
  NOT_IN_CAPTURE("cuMemFreeHost");
  auto found = pinned.find((char *)memory);
  if (found == pinned.end()) return invalid_value;
  if (found->second.address) {
    mapped.erase(found->second.address);
    munmap((void *)found->second.address, found->second.bytes);
    munmap(memory, found->second.bytes);
  } else {
    free(memory);
  }
  pinned.erase(found);
  return success;
}

}  // extern "C"
