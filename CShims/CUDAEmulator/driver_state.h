// SPDX-License-Identifier: Apache-2.0
// What the emulated driver knows: GPUs and their memory (`driver.cc`, `memory.cc`), memory that
// GPUs and host share (`managed.cc`), the host's that GPUs get at (`mapped.cc`), that processes
// share (`shared.cc`), queues and events (`queues.cc`), kernels (`launches.cc`) and what fits a GPU
// (`limits.cc`), graphs and what may be done while one is captured (`graphs.cc`). The words are the
// driver's: a stream is a queue.
#pragma once
#include "fibers.h"

#include <stdint.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace emulation {

enum Code {
  success = 0, invalid_value = 1, out_of_memory = 2, not_initialized = 3, no_device = 100,
  invalid_device = 101, invalid_image = 200, invalid_context = 201, peer_unsupported = 217,
  invalid_handle = 400, illegal_state = 401, not_found = 500, not_ready = 600,
  illegal_address = 700, out_of_resources = 701, peer_already_enabled = 704,
  peer_not_enabled = 705, context_is_destroyed = 709, too_many_peers = 711,
  launch_failed = 719, too_large_together = 720, not_supported = 801, capture_unsupported = 900,
  capture_invalidated = 901, capture_merge = 902, capture_isolation = 905, captured_event = 907,
  capture_wrong_thread = 908,
};

/// Of a GPU.
constexpr int multiprocessors = 2;
/// Of a block, where no more is asked for.
constexpr size_t shared_by_default = 48 << 10;

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
  bool is_timed = true;
  /// How often it was put on a stream, and how many of those times have come.
  long recorded = 0, done = 0;
  double time = 0;
  /// The stream that it was last recorded in, if that was being captured.
  const void *captured_in = nullptr;
};

struct Module {
  Context *context;
  bool is_loaded = true;
};

struct Operation {
  enum Kind { launch, copy_in, copy_out, copy_peer, fill, record, wait } kind;
  const Kernel *kernel = nullptr;
  std::shared_ptr<const Module> module;
  std::vector<char> argument;
  /// What of the argument pointed to memory that kernels can use, when it was queued.
  std::vector<uint64_t> addresses;
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

/// What goes into a graph in place of a stream.
struct Capture {
  int mode;
  std::thread::id thread;
  bool is_valid = true;
  std::vector<Operation> operations;
};

struct Stream {
  Context *context;
  std::deque<Operation> waiting;
  std::unique_ptr<Capture> capture;
  bool is_draining = false;
  /// Destroyed, but not before all that waits in it is done.
  bool is_ending = false;
  /// Whether of what does something the last is a kernel that others read after without waiting.
  bool ends_with_first = false;
};

/// What a kernel takes of a multiprocessor, by `CUDAKernels/resources.txt`.
struct Resources {
  int registers;
  size_t shared;
};

struct Function {
  const Kernel *kernel;
  std::shared_ptr<const Module> module;
  Resources resources;
  /// Shared memory beside what the kernel declares, at most.
  size_t shared_max;
};

struct LaunchShape {
  unsigned x, y, z, threads, threads_y, threads_z, shared;
  bool is_together, is_early;
};

// One lock for all threads: the emulation runs one block at a time anyway.
extern std::recursive_mutex lock;
extern std::vector<Device> devices;
extern Code sticky;
extern thread_local Context *current;

#define ALONE std::lock_guard<std::recursive_mutex> guard(emulation::lock)

#define LOCKED \
  ALONE;       \
  if (emulation::sticky != emulation::success) return emulation::sticky

/// Of calls that need a context of the thread that calls.
#define IN_CONTEXT \
  LOCKED;          \
  if (emulation::Code no = emulation::lacks_context()) return no

/// Of calls that may not be made while a graph is captured.
#define NOT_IN_CAPTURE(call) \
  if (emulation::Code no = emulation::conflicts_with_capture(call)) return no

inline Device &device_of(const Context *context) { return devices[(size_t)context->device]; }

/// Says why, and gives the code back.
Code refuse(Code code, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool is_held(const Context *context);
/// A code where the thread that calls has no context, or one that is gone.
Code lacks_context();

// Memory (`memory.cc`, `managed.cc`, `mapped.cc`).

/// Memory that nobody has written: NaN. Null if there is none.
char *take_memory(size_t bytes);
void give_back(uint64_t address, size_t bytes);

bool is_managed(uint64_t start, size_t bytes);
/// False if there is none at this address.
bool free_managed(uint64_t address);
/// In the memory of any GPU, or managed.
bool is_on_device(uint64_t start, size_t bytes);
bool is_pinned(const void *start, size_t bytes);
/// Whether it is a kernel's address of mapped memory.
bool is_mapped(uint64_t address);
/// Whether a kernel's argument holds an address that is the host's only.
bool has_host_address(const std::vector<char> &argument);
/// Lets a kernel get at the mapped memory that its argument names, and at its end no more.
void open_mapped(const std::vector<char> &argument);
void close_mapped(const std::vector<char> &argument);

// Streams and events (`queues.cc`).

/// Null if there is none, or it is destroyed.
Stream *stream_of(const void *handle);
std::shared_ptr<Event> event_of(void *handle);
/// All that are not gone.
const std::vector<Stream *> &all_streams();
int put(Stream *stream, Operation operation);
/// What of an argument points to memory that kernels can use now.
std::vector<uint64_t> usable_addresses(const std::vector<char> &argument);

// Limits (`limits.cc`).

int capability_of(int device);
/// Shared memory of a block, at most.
size_t shared_max_of(int device);
/// Null if the kernel is not compiled for the GPU.
const Resources *resources_of(const Kernel &kernel, int device);
/// As many as are on a multiprocessor together; 0 if there is no room for one.
int resident_blocks(const Function &function, unsigned threads, size_t shared);
/// The code of the driver for a launch that it refuses, which is said.
Code check_launch(const Function &function, const LaunchShape &shape);

// Graphs (`graphs.cc`).

/// A code where a call that is not of a stream would escape what is captured; that is then void.
Code conflicts_with_capture(const char *call);
/// The same of a call that a stream cannot be captured with.
Code void_capture(Stream *stream, Code code, const char *call);

/// Forget what was made in a context.
void end_streams(const Context *context);
void end_modules(const Context *context);
void end_graphs(const Context *context);

}  // namespace emulation
