// SPDX-License-Identifier: Apache-2.0
// Memory that lies in the host's and that GPUs read as theirs ("managed").
#include "driver_state.h"

using namespace emulation;

namespace {

std::map<uint64_t, size_t> managed;

/// `CUmemLocation` by value: a type, and above it the number of a device, which must be able to
/// read what the host uses.
int check_place(uint64_t location) {
  const uint32_t type = (uint32_t)location, id = (uint32_t)(location >> 32);
  if (type == 2) return success;
  if (type != 1) return invalid_value;
  const bool reads = setting("SILICA_EMULATED_MANAGED", 1) != 0;
  return id < devices.size() && reads ? success : invalid_device;
}

}  // namespace

bool emulation::is_managed(uint64_t start, size_t bytes) {
  auto next = managed.upper_bound(start);
  if (next == managed.begin()) return false;
  --next;
  return start + bytes <= next->first + next->second;
}

bool emulation::free_managed(uint64_t address) {
  auto found = managed.find(address);
  if (found == managed.end()) return false;
  give_back(address, found->second);
  managed.erase(found);
  return true;
}

extern "C" {

int cuMemAllocManaged(uint64_t *address, size_t bytes, unsigned flags) {
  IN_CONTEXT;
  NOT_IN_CAPTURE("cuMemAllocManaged");
  // 1: any stream on any GPU may use it.
  if (bytes == 0 || flags != 1) return invalid_value;
  char *memory = take_memory(bytes);
  if (!memory) return out_of_memory;
  managed[(uint64_t)memory] = bytes;
  *address = (uint64_t)memory;
  return success;
}

int cuMemAdvise_v2(uint64_t start, size_t bytes, int advice, uint64_t location) {
  IN_CONTEXT;
  if (advice < 1 || advice > 6 || !is_managed(start, bytes)) return invalid_value;
  return check_place(location);
}

int cuMemPrefetchAsync_v2(uint64_t start, size_t bytes, uint64_t location, unsigned flags,
                          void *handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream) return refuse(invalid_handle, "no such stream");
  if (stream->capture) return void_capture(stream, capture_unsupported, "cuMemPrefetchAsync");
  if (flags != 0 || !is_managed(start, bytes)) return invalid_value;
  return check_place(location);
}

}  // extern "C"
