// SPDX-License-Identifier: Apache-2.0
// The part of NVIDIA's driver that Silica calls, on processors: GPUs, contexts and their memory.
// What is put on a stream is in `queues.cc`, kernels are in `launches.cc`.
//
// By the environment: SILICA_EMULATED_GPUS (2), SILICA_EMULATED_MEMORY (bytes of each, 1 GiB),
// SILICA_EMULATED_DRIVER (13000), SILICA_EMULATED_CAPABILITY (90, but 80 of every other GPU),
// SILICA_EMULATED_PEERS (8: other GPUs whose memory one can reach, at most; 0: none can),
// SILICA_EMULATED_MANAGED (1; 0: the host's memory is not for GPUs to read as they please),
// SILICA_EMULATED_READ_ONLY (1; 0: memory of processes is mapped to be written or not at all),
// SILICA_EMULATED_ORDER (forward; or backward, shuffled:SEED: see `order.h`),
// SILICA_EMULATED_FAULT (the launch of that number fails, and every call after it).
#include "driver_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>

namespace emulation {

std::recursive_mutex lock;
std::vector<Device> devices;
Code sticky = success;
thread_local Context *current;

long setting(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text && *text ? atol(text) : otherwise;
}

Code refuse(Code code, const char *format, ...) {
  char text[512];
  va_list words;
  va_start(words, format);
  vsnprintf(text, sizeof text, format, words);
  va_end(words);
  fprintf(stderr, "emulated GPU: %s\n", text);
  return code;
}

static bool covers(const std::map<uint64_t, size_t> &pieces, uint64_t start, size_t count) {
  auto next = pieces.upper_bound(start);
  if (next == pieces.begin()) return false;
  --next;
  return start + count <= next->first + next->second;
}

bool Device::holds(uint64_t start, size_t count) const {
  return covers(allocations, start, count) || covers(mappings, start, count);
}

bool is_on_device(uint64_t start, size_t bytes) {
  for (const Device &device : devices) {
    if (device.holds(start, bytes)) return true;
  }
  return is_managed(start, bytes);
}

static Context contexts[64];

bool is_held(const Context *context) {
  return context >= contexts && context < contexts + 64 && context->holders > 0;
}

Code lacks_context() {
  if (!current) return refuse(invalid_context, "this thread has no context");
  if (is_held(current)) return success;
  return refuse(context_is_destroyed, "this thread's context is that of cuda:%d, which is gone",
                current->device);
}

}  // namespace emulation

using namespace emulation;

namespace {

thread_local std::vector<Context *> context_stack;

bool is_device(int device) { return device >= 0 && device < (int)devices.size(); }

/// NVIDIA's limit where no switch is between them.
size_t peers_max() { return (size_t)setting("SILICA_EMULATED_PEERS", 8); }

bool can_access(int device, int peer) { return device != peer && peers_max() > 0; }

void free_all(Device &device) {
  for (auto &allocation : device.allocations) give_back(allocation.first, allocation.second);
  device.allocations.clear();
  device.used = 0;
}

}  // namespace

extern "C" {

int cuInit(unsigned) {
  ALONE;
  if (!devices.empty()) return success;
  const long count = setting("SILICA_EMULATED_GPUS", 2);
  if (count <= 0) return no_device;
  Device device;
  device.bytes = (size_t)setting("SILICA_EMULATED_MEMORY", 1l << 30);
  devices.assign((size_t)(count < 64 ? count : 64), device);
  return success;
}

int cuDriverGetVersion(int *version) {
  *version = (int)setting("SILICA_EMULATED_DRIVER", 13000);
  return success;
}

int cuGetErrorName(int code, const char **name) {
  static const struct { int code; const char *name; } names[] = {
    {invalid_value, "INVALID_VALUE"}, {out_of_memory, "OUT_OF_MEMORY"},
    {not_initialized, "NOT_INITIALIZED"}, {no_device, "NO_DEVICE"},
    {invalid_device, "INVALID_DEVICE"}, {invalid_image, "INVALID_IMAGE"},
    {invalid_context, "INVALID_CONTEXT"}, {peer_unsupported, "PEER_ACCESS_UNSUPPORTED"},
    {invalid_handle, "INVALID_HANDLE"}, {illegal_state, "ILLEGAL_STATE"},
    {not_found, "NOT_FOUND"}, {not_ready, "NOT_READY"}, {illegal_address, "ILLEGAL_ADDRESS"},
    {out_of_resources, "LAUNCH_OUT_OF_RESOURCES"},
    {peer_already_enabled, "PEER_ACCESS_ALREADY_ENABLED"},
    {peer_not_enabled, "PEER_ACCESS_NOT_ENABLED"},
    {context_is_destroyed, "CONTEXT_IS_DESTROYED"}, {too_many_peers, "TOO_MANY_PEERS"},
    {launch_failed, "LAUNCH_FAILED"},
    {too_large_together, "COOPERATIVE_LAUNCH_TOO_LARGE"}, {not_supported, "NOT_SUPPORTED"},
    {capture_unsupported, "STREAM_CAPTURE_UNSUPPORTED"},
    {capture_invalidated, "STREAM_CAPTURE_INVALIDATED"},
    {capture_merge, "STREAM_CAPTURE_MERGE"}, {capture_isolation, "STREAM_CAPTURE_ISOLATION"},
    {captured_event, "CAPTURED_EVENT"},
    {capture_wrong_thread, "STREAM_CAPTURE_WRONG_THREAD"},
  };
  static thread_local char text[64];
  *name = nullptr;
  for (const auto &known : names) {
    if (known.code != code) continue;
    snprintf(text, sizeof text, "CUDA_ERROR_%s", known.name);
    *name = text;
  }
  return *name ? success : invalid_value;
}

int cuDeviceGetCount(int *count) {
  LOCKED;
  if (devices.empty()) return not_initialized;
  *count = (int)devices.size();
  return success;
}

int cuDeviceGet(int *device, int ordinal) {
  LOCKED;
  if (!is_device(ordinal)) return invalid_device;
  *device = ordinal;
  return success;
}

int cuDeviceGetName(char *name, int length, int device) {
  LOCKED;
  if (!is_device(device)) return invalid_device;
  snprintf(name, (size_t)length, "emulated GPU %d", device);
  return success;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  LOCKED;
  if (!is_device(device)) return invalid_device;
  const int capability = capability_of(device);
  switch (attribute) {
  case 16: *value = multiprocessors; break;
  case 75: *value = capability / 10; break;
  case 76: *value = capability % 10; break;
  case 89: *value = (int)setting("SILICA_EMULATED_MANAGED", 1); break;
  case 103: *value = 1; break;  // memory that is a file descriptor
  case 97: *value = (int)shared_max_of(device); break;  // shared memory of a block, if asked for
  default: *value = 0;
  }
  return success;
}

int cuDeviceGetPCIBusId(char *text, int length, int device) {
  LOCKED;
  if (!is_device(device)) return invalid_device;
  snprintf(text, (size_t)length, "ffff:00:00.0");
  return success;
}

/// The same for every process: two that share memory must know that they mean one GPU.
int cuDeviceGetUuid_v2(unsigned char *bytes, int device) {
  LOCKED;
  if (!is_device(device)) return invalid_device;
  memset(bytes, 0xe0, 15);
  bytes[15] = (unsigned char)device;
  return success;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  LOCKED;
  if (!is_device(device)) return invalid_device;
  *bytes = devices[(size_t)device].bytes;
  return success;
}

int cuDeviceCanAccessPeer(int *can, int device, int peer) {
  LOCKED;
  if (!is_device(device) || !is_device(peer)) return invalid_device;
  *can = can_access(device, peer);
  return success;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  LOCKED;
  if (!is_device(device)) return invalid_device;
  contexts[device].device = device;
  contexts[device].holders++;
  *context = &contexts[device];
  return success;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
  ALONE;
  if (!is_device(device)) return invalid_device;
  Context &context = contexts[device];
  if (context.holders == 0) return invalid_context;
  if (--context.holders > 0) return success;
  end_graphs(&context);
  end_streams(&context);
  end_modules(&context);
  free_all(devices[(size_t)device]);
  context.peers.clear();
  return success;
}

int cuCtxSetCurrent(void *context) {
  ALONE;
  if (context && !is_held((Context *)context)) return invalid_context;
  current = (Context *)context;
  return success;
}

int cuCtxPushCurrent_v2(void *context) {
  ALONE;
  if (!is_held((Context *)context)) return invalid_context;
  context_stack.push_back(current);
  current = (Context *)context;
  return success;
}

int cuCtxPopCurrent_v2(void **context) {
  ALONE;
  if (context_stack.empty()) return invalid_context;
  *context = current;
  current = context_stack.back();
  context_stack.pop_back();
  return success;
}

int cuCtxEnablePeerAccess(void *context, unsigned flags) {
  IN_CONTEXT;
  const Context *peer = (Context *)context;
  if (!is_held(peer) || peer == current) return invalid_context;
  if (flags != 0) return invalid_value;
  if (!can_access(current->device, peer->device)) return peer_unsupported;
  auto &peers = current->peers;
  if (std::find(peers.begin(), peers.end(), peer) != peers.end()) return peer_already_enabled;
  if (peers.size() >= peers_max()) return too_many_peers;
  peers.push_back(peer);
  return success;
}

int cuMemGetInfo_v2(size_t *free, size_t *total) {
  IN_CONTEXT;
  const Device &device = devices[(size_t)current->device];
  *free = device.bytes - device.used;
  *total = device.bytes;
  return success;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  IN_CONTEXT;
  NOT_IN_CAPTURE("cuMemAlloc");
  if (bytes == 0) return invalid_value;
  Device &device = devices[(size_t)current->device];
  if (bytes > device.bytes - device.used) return out_of_memory;
  char *memory = take_memory(bytes);
  if (!memory) return out_of_memory;
  device.used += bytes;
  device.allocations[(uint64_t)memory] = bytes;
  *address = (uint64_t)memory;
  return success;
}

int cuMemFree_v2(uint64_t address) {
  ALONE;
  if (Code no = lacks_context()) return no;
  NOT_IN_CAPTURE("cuMemFree");
  for (Device &device : devices) {
    auto found = device.allocations.find(address);
    if (found == device.allocations.end()) continue;
    device.used -= found->second;
    give_back(address, found->second);
    device.allocations.erase(found);
    return success;
  }
  return free_managed(address) ? success : invalid_value;
}

}  // extern "C"
