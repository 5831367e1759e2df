// SPDX-License-Identifier: Apache-2.0
// The part of NVIDIA's driver that Silica calls, on processors: what is put on a stream is done
// when somebody waits for it, and not before, so that a missing wait shows.
//
// By the environment: SILICA_EMULATED_GPUS (2), SILICA_EMULATED_MEMORY (bytes of each, 1 GiB),
// SILICA_EMULATED_DRIVER (13000), SILICA_EMULATED_CAPABILITY (90, but 80 of every other GPU),
// SILICA_EMULATED_FAULT (the launch of that number fails, and every call after it).
#include "fibers.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <deque>
#include <map>
#include <mutex>
#include <vector>

using emulation::Position;

namespace {

enum Code {
  success = 0, invalid_value = 1, out_of_memory = 2, not_initialized = 3, no_device = 100,
  invalid_device = 101, invalid_image = 200, invalid_context = 201, invalid_handle = 400,
  not_found = 500, illegal_address = 700, launch_failed = 719, too_large_together = 720,
};

long setting(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text && *text ? atol(text) : otherwise;
}

struct Device {
  size_t bytes, used = 0;
  std::map<uint64_t, size_t> allocations;
};

struct Event {
  bool is_done = true;
  double time = 0;
};

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

struct Operation {
  enum Kind { launch, copy, fill, record } kind;
  const emulation::Kernel *kernel = nullptr;
  std::vector<char> argument;
  Position grid = {};
  int threads = 0;
  size_t shared = 0;
  uint64_t to = 0, from = 0;
  size_t bytes = 0;
  int byte = 0;
  Event *event = nullptr;
};

struct Stream {
  std::deque<Operation> waiting;
  std::vector<Operation> captured;
  bool is_capturing = false;
};

struct Graph { std::vector<Operation> operations; };
struct Function { const emulation::Kernel *kernel; size_t shared_max = 48 << 10; };
struct Context { int device; };

// One for all threads: the emulation runs one block at a time anyway.
std::recursive_mutex lock;
std::vector<Device> devices;
std::map<char *, size_t> pinned;
long launches, fault_at;
Code sticky = success;
thread_local Context *current;
constexpr int multiprocessors = 2;
Context contexts[64];

#define LOCKED                                     \
  std::lock_guard<std::recursive_mutex> guard(lock); \
  if (sticky != success) return sticky

bool holds(const std::map<uint64_t, size_t> &ranges, uint64_t start, size_t bytes) {
  auto next = ranges.upper_bound(start);
  if (next == ranges.begin()) return false;
  --next;
  return start + bytes <= next->first + next->second;
}

bool is_on_device(uint64_t start, size_t bytes) {
  for (const Device &device : devices) {
    if (holds(device.allocations, start, bytes)) return true;
  }
  return false;
}

bool is_pinned(const void *start, size_t bytes) {
  auto next = pinned.upper_bound((char *)start);
  if (next == pinned.begin()) return false;
  --next;
  return (char *)start + bytes <= next->first + next->second;
}

int perform(const Operation &operation) {
  switch (operation.kind) {
  case Operation::launch: {
    if (++launches == fault_at) return sticky = illegal_address;
    const char *error = emulation::run_grid(*operation.kernel, operation.argument.data(),
                                            operation.grid, operation.threads, operation.shared);
    if (!error) return success;
    fprintf(stderr, "emulated GPU: kernel %s: %s\n", operation.kernel->name, error);
    return sticky = launch_failed;
  }
  case Operation::copy:
    memcpy((void *)operation.to, (void *)operation.from, operation.bytes);
    break;
  case Operation::fill: memset((void *)operation.to, operation.byte, operation.bytes); break;
  case Operation::record:
    operation.event->is_done = true;
    operation.event->time = now();
    break;
  }
  return success;
}

int put(void *stream, Operation operation) {
  Stream *target = (Stream *)stream;
  if (!target) return invalid_handle;
  if (target->is_capturing) {
    target->captured.push_back(operation);
  } else {
    if (operation.event) operation.event->is_done = false;
    target->waiting.push_back(operation);
  }
  return success;
}

int drain(Stream *stream, const Event *until = nullptr) {
  while (!stream->waiting.empty() && !(until && until->is_done)) {
    Operation operation = stream->waiting.front();
    stream->waiting.pop_front();
    if (int code = perform(operation)) return code;
  }
  return success;
}

std::vector<Stream *> streams;

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
  fault_at = setting("SILICA_EMULATED_FAULT", 0);
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
  case 97: *value = 232448; break;  // shared memory of a block, with an option
  default: *value = 0;
  }
  return success;
}

int cuDeviceGetPCIBusId(char *text, int length, int) {
  snprintf(text, (size_t)length, "ffff:00:00.0");
  return success;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  LOCKED;
  *bytes = devices[(size_t)device].bytes;
  return success;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  LOCKED;
  contexts[device].device = device;
  *context = &contexts[device];
  return success;
}

int cuDevicePrimaryCtxRelease_v2(int) { return success; }

int cuCtxSetCurrent(void *context) {
  current = (Context *)context;
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
  const size_t whole = (bytes + 255) / 256 * 256;
  char *memory = (char *)aligned_alloc(256, whole);
  if (!memory) return out_of_memory;
  // What nobody wrote is not a number.
  memset(memory, 0xff, whole);
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
    device.allocations.erase(found);
    free((void *)address);
    return success;
  }
  return invalid_value;
}

int cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
  LOCKED;
  if (!current) return invalid_context;
  const size_t whole = (bytes + 4095) / 4096 * 4096;
  *memory = aligned_alloc(4096, whole);
  if (!*memory) return out_of_memory;
  pinned[(char *)*memory] = whole;
  return success;
}

int cuMemFreeHost(void *memory) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (pinned.erase((char *)memory) == 0) return invalid_value;
  free(memory);
  return success;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  LOCKED;
  if (!is_on_device(to, bytes) || !is_pinned(from, bytes)) return invalid_value;
  Operation operation = {};
  operation.kind = Operation::copy;
  operation.to = to, operation.from = (uint64_t)from, operation.bytes = bytes;
  return put(stream, operation);
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  LOCKED;
  if (!is_on_device(from, bytes) || !is_pinned(to, bytes)) return invalid_value;
  Operation operation = {};
  operation.kind = Operation::copy;
  operation.to = (uint64_t)to, operation.from = from, operation.bytes = bytes;
  return put(stream, operation);
}

int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t bytes, void *stream) {
  LOCKED;
  if (!is_on_device(to, bytes)) return invalid_value;
  Operation operation = {};
  operation.kind = Operation::fill;
  operation.to = to, operation.byte = byte, operation.bytes = bytes;
  return put(stream, operation);
}

int cuStreamCreate(void **stream, unsigned) {
  LOCKED;
  if (!current) return invalid_context;
  Stream *made = new Stream();
  streams.push_back(made);
  *stream = made;
  return success;
}

int cuStreamDestroy_v2(void *stream) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  for (size_t i = 0; i < streams.size(); i++) {
    if (streams[i] != stream) continue;
    streams.erase(streams.begin() + (long)i);
    delete (Stream *)stream;
    return success;
  }
  return invalid_handle;
}

int cuStreamSynchronize(void *stream) {
  LOCKED;
  return stream ? drain((Stream *)stream) : (int)invalid_handle;
}

int cuEventCreate(void **event, unsigned) {
  *event = new Event();
  return success;
}

int cuEventDestroy_v2(void *event) {
  delete (Event *)event;
  return success;
}

int cuEventRecord(void *event, void *stream) {
  LOCKED;
  Operation operation = {};
  operation.kind = Operation::record;
  operation.event = (Event *)event;
  return put(stream, operation);
}

int cuEventSynchronize(void *event) {
  LOCKED;
  for (Stream *stream : streams) {
    if (((Event *)event)->is_done) return success;
    bool has = false;
    for (const Operation &operation : stream->waiting) has |= operation.event == event;
    if (!has) continue;
    if (int code = drain(stream, (Event *)event)) return code;
  }
  return success;
}

int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
  LOCKED;
  *milliseconds = (float)(((Event *)end)->time - ((Event *)start)->time);
  return success;
}

int cuModuleLoadData(void **module, const void *image) {
  LOCKED;
  static const char begin[] = "silica: kernels of the emulated GPU";
  if (strncmp((const char *)image, begin, sizeof begin - 1) != 0) return invalid_image;
  *module = (void *)begin;
  return success;
}

int cuModuleUnload(void *) { return success; }

int cuModuleGetFunction(void **function, void *, const char *name) {
  LOCKED;
  const emulation::Kernel *kernel = emulation::kernel_named(name);
  if (!kernel) return not_found;
  *function = new Function{kernel};
  return success;
}

int cuFuncSetAttribute(void *function, int attribute, int value) {
  LOCKED;
  if (attribute != 8 || value < 0 || value > 232448) return invalid_value;
  ((Function *)function)->shared_max = (size_t)value;
  return success;
}

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int, size_t shared) {
  // A multiprocessor has shared memory for one block with an option, and registers for two.
  *blocks = shared > 232448 / 2 ? 1 : 2;
  return success;
}

int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads,
                   unsigned threads_y, unsigned threads_z, unsigned shared, void *stream,
                   void **parameters, void **) {
  LOCKED;
  const Function *called = (Function *)function;
  const bool is_one_row = threads_y == 1 && threads_z == 1;
  const bool is_whole = threads % 32 == 0 && threads <= (unsigned)called->kernel->threads;
  if (!is_one_row || !is_whole || threads == 0) return invalid_value;
  if (x == 0 || y == 0 || z == 0 || y > 65535 || z > 65535) return invalid_value;
  if (shared > called->shared_max) return invalid_value;
  Operation operation = {};
  operation.kind = Operation::launch;
  operation.kernel = called->kernel;
  operation.argument.assign((char *)parameters[0],
                            (char *)parameters[0] + called->kernel->argument_bytes);
  operation.grid = {(int)x, (int)y, (int)z};
  operation.threads = (int)threads;
  operation.shared = shared;
  return put(stream, operation);
}

/// A launch's shape and stream as the driver lays them out, and attributes: of those only 2 counts
/// here, "together".
struct LaunchAttribute { int id, unused; int32_t value, rest[15]; };
struct LaunchConfiguration {
  unsigned x, y, z, threads, threads_y, threads_z, shared;
  void *stream;
  const LaunchAttribute *attributes;
  unsigned attribute_count;
};

int cuLaunchKernelEx(const LaunchConfiguration *launch, void *function, void **parameters,
                     void **extra) {
  bool is_together = false;
  for (unsigned i = 0; i < launch->attribute_count; i++) {
    is_together |= launch->attributes[i].id == 2 && launch->attributes[i].value;
  }
  int most = 0;
  cuOccupancyMaxActiveBlocksPerMultiprocessor(&most, function, (int)launch->threads,
                                              launch->shared);
  if (is_together != ((Function *)function)->kernel->is_together) return invalid_value;
  if (is_together && launch->x > (unsigned)(most * multiprocessors)) return too_large_together;
  return cuLaunchKernel(function, launch->x, launch->y, launch->z, launch->threads,
                        launch->threads_y, launch->threads_z, launch->shared, launch->stream,
                        parameters, extra);
}

int cuStreamBeginCapture_v2(void *stream, int) {
  LOCKED;
  Stream *target = (Stream *)stream;
  target->is_capturing = true;
  target->captured.clear();
  return success;
}

int cuStreamEndCapture(void *stream, void **graph) {
  LOCKED;
  Stream *target = (Stream *)stream;
  target->is_capturing = false;
  *graph = new Graph{target->captured};
  return success;
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
  LOCKED;
  *executable = new Graph(*(Graph *)graph);
  return success;
}

int cuGraphLaunch(void *executable, void *stream) {
  LOCKED;
  for (const Operation &operation : ((Graph *)executable)->operations) {
    if (int code = put(stream, operation)) return code;
  }
  return success;
}

int cuGraphDestroy(void *graph) {
  delete (Graph *)graph;
  return success;
}

int cuGraphExecDestroy(void *executable) {
  delete (Graph *)executable;
  return success;
}

}  // extern "C"
