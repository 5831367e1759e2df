// SPDX-License-Identifier: Apache-2.0
// Memory of a GPU that processes share: made, handed over as a file descriptor and mapped by each;
// it is there as long as one has it. Here it is a file without a name.
#include "driver_state.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace emulation;

namespace {

constexpr size_t granularity = 2 << 20;

/// `CUmemAllocationProp`
struct Properties {
  int type, handle_types, location_type, location;
  void *unused;
  unsigned char flags[8];
};

/// `CUmemAccessDesc`
struct Access { int location_type, location, flags; };

struct Memory {
  int file;
  size_t bytes;
  /// The GPU that it was taken from, in the process that made it; else -1.
  int device;
  int holders;
};

struct Mapping { uint64_t memory; size_t bytes; };

std::map<uint64_t, Memory> memories;
std::map<uint64_t, size_t> reservations;
std::map<uint64_t, Mapping> mapped;
uint64_t last_handle;

bool is_whole(size_t bytes) { return bytes > 0 && bytes % granularity == 0; }

bool is_right(const Properties &properties) {
  return properties.type == 1 && properties.handle_types == 1 && properties.location_type == 1 &&
         properties.location >= 0 && properties.location < (int)devices.size();
}

void let_go(uint64_t handle) {
  Memory &memory = memories[handle];
  if (--memory.holders > 0) return;
  if (memory.device >= 0) devices[(size_t)memory.device].used -= memory.bytes;
  close(memory.file);
  memories.erase(handle);
}

}  // namespace

extern "C" {

int cuMemGetAllocationGranularity(size_t *bytes, const Properties *properties, int) {
  LOCKED;
  if (!is_right(*properties)) return invalid_value;
  *bytes = granularity;
  return success;
}

int cuMemCreate(uint64_t *handle, size_t bytes, const Properties *properties,
                unsigned long long flags) {
  LOCKED;
  if (!is_right(*properties) || !is_whole(bytes) || flags != 0) return invalid_value;
  Device &device = devices[(size_t)properties->location];
  if (bytes > device.bytes - device.used) return out_of_memory;
  const int file = memfd_create("emulated GPU memory", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, (off_t)bytes) != 0) return out_of_memory;
  void *whole = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (whole == MAP_FAILED) return out_of_memory;
  memset(whole, 0xff, bytes);
  munmap(whole, bytes);
  device.used += bytes;
  *handle = ++last_handle;
  memories[*handle] = {file, bytes, properties->location, 1};
  return success;
}

int cuMemRelease(uint64_t handle) {
  ALONE;
  if (memories.count(handle) == 0) return invalid_value;
  let_go(handle);
  return success;
}

int cuMemExportToShareableHandle(int *file, uint64_t handle, int type, unsigned long long flags) {
  LOCKED;
  if (memories.count(handle) == 0 || type != 1 || flags != 0) return invalid_value;
  *file = fcntl(memories[handle].file, F_DUPFD_CLOEXEC, 0);
  return *file >= 0 ? success : out_of_memory;
}

int cuMemImportFromShareableHandle(uint64_t *handle, void *file, int type) {
  LOCKED;
  struct stat status;
  const int given = (int)(intptr_t)file;
  if (type != 1 || fstat(given, &status) != 0) return invalid_value;
  if (!is_whole((size_t)status.st_size)) return invalid_value;
  *handle = ++last_handle;
  memories[*handle] = {fcntl(given, F_DUPFD_CLOEXEC, 0), (size_t)status.st_size, -1, 1};
  return success;
}

int cuMemAddressReserve(uint64_t *start, size_t bytes, size_t, uint64_t, unsigned long long) {
  LOCKED;
  if (!is_whole(bytes)) return invalid_value;
  void *space = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) return out_of_memory;
  *start = (uint64_t)space;
  reservations[*start] = bytes;
  return success;
}

int cuMemAddressFree(uint64_t start, size_t bytes) {
  ALONE;
  auto found = reservations.find(start);
  if (found == reservations.end() || found->second != bytes || mapped.count(start)) {
    return invalid_value;
  }
  munmap((void *)start, bytes);
  reservations.erase(found);
  return success;
}

int cuMemMap(uint64_t start, size_t bytes, size_t offset, uint64_t handle,
             unsigned long long flags) {
  LOCKED;
  auto memory = memories.find(handle);
  if (memory == memories.end() || reservations.count(start) == 0) return invalid_value;
  const bool fits = bytes <= reservations[start] && bytes <= memory->second.bytes;
  if (!fits || !is_whole(bytes) || offset != 0 || flags != 0) return invalid_value;
  void *place = mmap((void *)start, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED,
                     memory->second.file, 0);
  if (place == MAP_FAILED) return out_of_memory;
  memory->second.holders++;
  mapped[start] = {handle, bytes};
  return success;
}

int cuMemSetAccess(uint64_t start, size_t bytes, const Access *access, size_t count) {
  LOCKED;
  auto found = mapped.find(start);
  if (found == mapped.end() || found->second.bytes != bytes || count != 1) return invalid_value;
  const bool is_gpu = access->location_type == 1 && access->location >= 0 &&
                      access->location < (int)devices.size();
  if (!is_gpu || (access->flags != 1 && access->flags != 3)) return invalid_value;
  if (access->flags == 1 && setting("SILICA_EMULATED_READ_ONLY", 1) == 0) return not_supported;
  mprotect((void *)start, bytes, access->flags == 3 ? PROT_READ | PROT_WRITE : PROT_READ);
  devices[(size_t)access->location].mappings[start] = bytes;
  return success;
}

int cuMemUnmap(uint64_t start, size_t bytes) {
  ALONE;
  auto found = mapped.find(start);
  if (found == mapped.end() || found->second.bytes != bytes) return invalid_value;
  for (Device &device : devices) device.mappings.erase(start);
  mmap((void *)start, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  let_go(found->second.memory);
  mapped.erase(found);
  return success;
}

}  // extern "C"
