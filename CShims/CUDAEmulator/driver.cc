// SPDX-License-Identifier: Apache-2.0
// The part of NVIDIA's driver that Silica calls, on processors: GPUs, contexts, memory, kernels by
// name. What is put on a stream is in `queues.cc`.
//
// By the environment: SILICA_EMULATED_GPUS (2), SILICA_EMULATED_MEMORY (bytes of each, 1 GiB),
// SILICA_EMULATED_DRIVER (13000), SILICA_EMULATED_CAPABILITY (90, but 80 of every other GPU),
// SILICA_EMULATED_PEERS (1; 0: no GPU reaches another's memory),
// SILICA_EMULATED_MANAGED (1; 0: the host's memory is not for GPUs to read as they please),
// SILICA_EMULATED_FAULT (the launch of that number fails, and every call after it).
#include "driver_state.h"

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

}  // namespace emulation

using namespace emulation;

namespace {

Context contexts[64];
thread_local std::vector<Context *> context_stack;

bool is_held(const Context *context) {
  return context >= contexts && context < contexts + 64 && context->holders > 0;
}

bool can_access(int device, int peer) {
  return device != peer && setting("SILICA_EMULATED_PEERS", 1) != 0;
}

void free_all(Device &device) {
  for (auto &allocation : device.allocations) give_back(allocation.first, allocation.second);
  device.allocations.clear();
  device.used = 0;
}

}  // namespace

extern "C" {

int cuInit(unsigned) {
  std::lock_guard<std::recursive_mutex> guard(lock);
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
  switch (code) {
  case invalid_value: *name = "CUDA_ERROR_INVALID_VALUE"; break;
  case out_of_memory: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
  case not_initialized: *name = "CUDA_ERROR_NOT_INITIALIZED"; break;
  case no_device: *name = "CUDA_ERROR_NO_DEVICE"; break;
  case invalid_device: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
  case invalid_image: *name = "CUDA_ERROR_INVALID_IMAGE"; break;
  case invalid_context: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
  case invalid_handle: *name = "CUDA_ERROR_INVALID_HANDLE"; break;
  case peer_unsupported: *name = "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED"; break;
  case peer_already_enabled: *name = "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED"; break;
  case peer_not_enabled: *name = "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED"; break;
  case not_found: *name = "CUDA_ERROR_NOT_FOUND"; break;
  case illegal_address: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
  case too_large_together: *name = "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"; break;
  case launch_failed: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
  default: *name = nullptr; return invalid_value;
  }
  return success;
}

int cuDeviceGetCount(int *count) {
  LOCKED;
  if (devices.empty()) return not_initialized;
  *count = (int)devices.size();
  return success;
}

int cuDeviceGet(int *device, int ordinal) {
  LOCKED;
  if (ordinal < 0 || ordinal >= (int)devices.size()) return invalid_device;
  *device = ordinal;
  return success;
}

int cuDeviceGetName(char *name, int length, int device) {
  snprintf(name, (size_t)length, "emulated GPU %d", device);
  return success;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  const int capability = (int)setting("SILICA_EMULATED_CAPABILITY", device % 2 == 0 ? 90 : 80);
  switch (attribute) {
  case 16: *value = multiprocessors; break;
  case 75: *value = capability / 10; break;
  case 76: *value = capability % 10; break;
  case 89: *value = (int)setting("SILICA_EMULATED_MANAGED", 1); break;
  case 103: *value = 1; break;  // memory that is a file descriptor
  case 97: *value = 232448; break;  // shared memory of a block, with an option
  default: *value = 0;
  }
  return success;
}

int cuDeviceGetPCIBusId(char *text, int length, int) {
  snprintf(text, (size_t)length, "ffff:00:00.0");
  return success;
}

/// The same for every process: two that share memory must know that they mean one GPU.
int cuDeviceGetUuid_v2(unsigned char *bytes, int device) {
  memset(bytes, 0xe0, 15);
  bytes[15] = (unsigned char)device;
  return success;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  LOCKED;
  *bytes = devices[(size_t)device].bytes;
  return success;
}

int cuDeviceCanAccessPeer(int *can, int device, int peer) {
  LOCKED;
  const int count = (int)devices.size();
  if (device < 0 || device >= count || peer < 0 || peer >= count) return invalid_device;
  *can = can_access(device, peer);
  return success;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  LOCKED;
  contexts[device].device = device;
  contexts[device].holders++;
  *context = &contexts[device];
  return success;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  Context &context = contexts[device];
  if (context.holders == 0) return invalid_context;
  if (--context.holders > 0) return success;
  free_all(devices[(size_t)device]);
  context.peers.clear();
  return success;
}

int cuCtxSetCurrent(void *context) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (context && !is_held((Context *)context)) return invalid_context;
  current = (Context *)context;
  return success;
}

int cuCtxPushCurrent_v2(void *context) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (!is_held((Context *)context)) return invalid_context;
  context_stack.push_back(current);
  current = (Context *)context;
  return success;
}

int cuCtxPopCurrent_v2(void **context) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (context_stack.empty()) return invalid_context;
  *context = current;
  current = context_stack.back();
  context_stack.pop_back();
  return success;
}

int cuCtxEnablePeerAccess(void *context, unsigned flags) {
  LOCKED;
  const Context *peer = (Context *)context;
  if (!current || !is_held(peer)) return invalid_context;
  if (flags != 0) return invalid_value;
  if (!can_access(current->device, peer->device)) return peer_unsupported;
  auto &peers = current->peers;
  if (std::find(peers.begin(), peers.end(), peer) != peers.end()) return peer_already_enabled;
  peers.push_back(peer);
  return success;
}

int cuMemGetInfo_v2(size_t *free, size_t *total) {
  LOCKED;
  if (!current) return invalid_context;
  const Device &device = devices[(size_t)current->device];
  *free = device.bytes - device.used;
  *total = device.bytes;
  return success;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  LOCKED;
  if (!current) return invalid_context;
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
  std::lock_guard<std::recursive_mutex> guard(lock);
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

int cuModuleLoadData(void **module, const void *image) {
  LOCKED;
  static const char begin[] = "silica: kernels of the emulated GPU";
  if (strncmp((const char *)image, begin, sizeof begin - 1) != 0) return invalid_image;
  if (!current) return invalid_context;
  *module = new Module{current};
  return success;
}

int cuModuleUnload(void *module) {
  delete (Module *)module;
  return success;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
  LOCKED;
  const emulation::Kernel *kernel = emulation::kernel_named(name);
  if (!kernel) return not_found;
  *function = new Function{kernel, ((Module *)module)->context};
  return success;
}

int cuFuncSetAttribute(void *function, int attribute, int value) {
  LOCKED;
  if (attribute != 8 || value < 0 || value > 232448) return invalid_value;
  ((Function *)function)->shared_max = (size_t)value;
  return success;
}

}  // extern "C"
