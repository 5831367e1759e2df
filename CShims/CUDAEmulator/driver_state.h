// SPDX-License-Identifier: Apache-2.0
// What the emulated driver knows: GPUs and their memory (`driver.cc`, `memory.cc`), memory that
// GPUs and host share (`managed.cc`), the host's that GPUs get at (`mapped.cc`), that processes
// share (`shared.cc`), queues, events and graphs (`queues.cc`). The words are the driver's: a
// stream is a queue.
#pragma once
#include "fibers.h"

#include <stdint.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace emulation {

enum Code {
  success = 0, invalid_value = 1, out_of_memory = 2, not_initialized = 3, no_device = 100,
  invalid_device = 101, invalid_image = 200, invalid_context = 201, peer_unsupported = 217,
  invalid_handle = 400, not_found = 500, illegal_address = 700, peer_already_enabled = 704,
  peer_not_enabled = 705, launch_failed = 719, too_large_together = 720, capture_unsupported = 900,
};

/// Of a GPU.
constexpr int multiprocessors = 2;

long setting(const char *name, long otherwise);

struct Device {
  size_t bytes, used = 0;
  std::map<uint64_t, size_t> allocations;
  /// Memory that processes share, where it is mapped and may be used.
  std::map<uint64_t, size_t> mappings;

  bool holds(uint64_t start, size_t count) const;
};

/// A GPU's primary context; gone when nobody holds it, with all that was made in it.
struct Context {
  int device;
  int holders = 0;
  /// Whose memory its queues may write to.
  std::vector<const Context *> peers;
};

struct Event {
  Context *context;
  /// How often it was put on a stream, and how many of those times have come.
  long recorded = 0, done = 0;
  double time = 0;
};

struct Operation {
  enum Kind { launch, copy_in, copy_out, copy_peer, fill, record, wait } kind;
  const Kernel *kernel = nullptr;
  std::vector<char> argument;
  Position grid = {};
  int threads = 0;
  size_t shared = 0;
  /// Whether it may begin before the kernels in front of it are done, and its block that has.
  bool is_early = false;
  std::shared_ptr<EarlyBlock> begun = nullptr;
  uint64_t to = 0, from = 0;
  size_t bytes = 0;
  int byte = 0;
  std::shared_ptr<Event> event;
  /// Which of the times that the event was recorded.
  long mark = 0;
};

struct Stream {
  Context *context;
  std::deque<Operation> waiting;
  std::vector<Operation> captured;
  bool is_capturing = false, is_draining = false;
  /// Whether of what does something the last is a kernel that others read after without waiting.
  bool ends_with_first = false;
};

struct Graph { std::vector<Operation> operations; };
struct Module { Context *context; };

struct Function {
  const Kernel *kernel;
  Context *context;
  size_t shared_max = 48 << 10;
};

// One lock for all threads: the emulation runs one block at a time anyway.
extern std::recursive_mutex lock;
extern std::vector<Device> devices;
extern Code sticky;
extern thread_local Context *current;

#define LOCKED                                                  \
  std::lock_guard<std::recursive_mutex> guard(emulation::lock); \
  if (emulation::sticky != emulation::success) return emulation::sticky

inline Device &device_of(const Context *context) { return devices[(size_t)context->device]; }

/// Memory that nobody has written: NaN. Null if there is none.
char *take_memory(size_t bytes);
void give_back(uint64_t address, size_t bytes);

bool is_managed(uint64_t start, size_t bytes);
/// False if there is none at this address.
bool free_managed(uint64_t address);
/// In the memory of any GPU, or managed.
bool is_on_device(uint64_t start, size_t bytes);
bool is_pinned(const void *start, size_t bytes);
/// Whether a kernel's argument holds an address that is the host's only.
bool has_host_address(const std::vector<char> &argument);
/// Lets a kernel get at the mapped memory that its argument names, and at its end no more.
void open_mapped(const std::vector<char> &argument);
void close_mapped(const std::vector<char> &argument);

}  // namespace emulation
