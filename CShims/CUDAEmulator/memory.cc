// SPDX-License-Identifier: Apache-2.0
// Where emulated memory comes from. What nobody wrote is not a number.
#include "driver_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace emulation {

namespace {

/// From so many bytes on, memory is pages of a file of NaNs, copied when they are written: a device
/// takes much of which a test writes little, and to fill it was a fifth of the tests' time.
constexpr size_t paged_min = 1 << 20;
constexpr size_t file_bytes = 16 << 20;

size_t whole_pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

int make_file() {
  const int file = memfd_create("emulated memory", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, (off_t)file_bytes) != 0) abort();
  void *all = mmap(nullptr, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (all == MAP_FAILED) abort();
  memset(all, 0xff, file_bytes);
  munmap(all, file_bytes);
  return file;
}

}  // namespace

char *take_memory(size_t bytes) {
  const size_t whole = whole_pages(bytes);
  if (bytes < paged_min) {
    char *memory = (char *)aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (memory) memset(memory, 0xff, bytes);
    return memory;
  }
  static const int file = make_file();
  char *memory = (char *)mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  for (size_t done = 0; done < whole; done += file_bytes) {
    const size_t count = whole - done < file_bytes ? whole - done : file_bytes;
    const int how = MAP_PRIVATE | MAP_FIXED;
    if (mmap(memory + done, count, PROT_READ | PROT_WRITE, how, file, 0) != MAP_FAILED) continue;
    munmap(memory, whole);
    return nullptr;
  }
  return memory;
}

void give_back(uint64_t address, size_t bytes) {
  if (bytes < paged_min) free((void *)address);
  else munmap((void *)address, whole_pages(bytes));
}

}  // namespace emulation
