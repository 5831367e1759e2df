// SPDX-License-Identifier: Apache-2.0
// Streams, events, copies, launches and graphs of the emulated driver: what is put on a stream is
// done when somebody waits for it, and not before, so that a missing wait shows.
#include "driver_state.h"

#include <stdio.h>
#include <time.h>

#include <algorithm>

using namespace emulation;

namespace {

std::vector<Stream *> streams;
/// Those that are not destroyed; what is queued keeps the others.
std::map<void *, std::shared_ptr<Event>> events;
long launches;

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int come_to(const std::shared_ptr<Event> &event, long mark);

int failed(const Operation &launched, const char *error) {
  fprintf(stderr, "emulated GPU: kernel %s: %s\n", launched.kernel->name, error);
  return sticky = launch_failed;
}

int launch(const Operation &operation) {
  static const long fault_at = setting("SILICA_EMULATED_FAULT", 0);
  if (++launches == fault_at) return sticky = illegal_address;
  open_mapped(operation.argument);
  const char *error = run_grid(*operation.kernel, operation.argument.data(), operation.grid,
                               operation.threads, operation.shared, operation.begun.get());
  close_mapped(operation.argument);
  return error ? failed(operation, error) : (int)success;
}

/// Begins a block of each kernel behind the next one that a GPU may begin before that is done, the
/// last of them first: as early as can be.
int begin_behind(Stream &stream) {
  // The next one may have begun, too.
  constexpr size_t most = early_max - 1;
  std::vector<Operation *> behind;
  for (size_t i = 1; i < stream.waiting.size() && behind.size() < most; i++) {
    Operation &operation = stream.waiting[i];
    if (operation.kind == Operation::record) continue;
    if (operation.kind != Operation::launch || !operation.is_early) break;
    behind.insert(behind.begin(), &operation);
  }
  for (Operation *operation : behind) {
    if (operation->begun) continue;
    open_mapped(operation->argument);
    const char *error =
      begin_early(*operation->kernel, operation->argument, operation->grid, operation->threads,
                  operation->shared, operation->begun);
    close_mapped(operation->argument);
    if (error) return failed(*operation, error);
  }
  return success;
}

/// Whether what is copied or filled is still there, now that its time has come.
bool has_memory(const Operation &operation) {
  const void *to = (void *)operation.to, *from = (void *)operation.from;
  switch (operation.kind) {
  case Operation::copy_in:
    return is_on_device(operation.to, operation.bytes) && is_pinned(from, operation.bytes);
  case Operation::copy_out:
    return is_pinned(to, operation.bytes) && is_on_device(operation.from, operation.bytes);
  case Operation::copy_peer:
    return is_on_device(operation.to, operation.bytes) &&
           is_on_device(operation.from, operation.bytes);
  case Operation::fill: return is_on_device(operation.to, operation.bytes);
  default: return true;
  }
}

int perform(const Operation &operation) {
  if (!has_memory(operation)) {
    fprintf(stderr, "emulated GPU: memory was freed before a copy that was queued\n");
    return sticky = illegal_address;
  }
  switch (operation.kind) {
  case Operation::launch: return launch(operation);
  case Operation::copy_in:
  case Operation::copy_out:
  case Operation::copy_peer:
    memmove((void *)operation.to, (void *)operation.from, operation.bytes);
    break;
  case Operation::fill: memset((void *)operation.to, operation.byte, operation.bytes); break;
  case Operation::record:
    operation.event->done = operation.mark;
    operation.event->time = now();
    break;
  case Operation::wait: return come_to(operation.event, operation.mark);
  }
  return success;
}

int put(void *stream, Operation operation) {
  Stream *target = (Stream *)stream;
  if (!target) return invalid_handle;
  if (target->is_capturing) {
    if (operation.kind == Operation::wait) return capture_unsupported;
    target->captured.push_back(operation);
    return success;
  }
  if (operation.kind == Operation::launch) {
    target->ends_with_first = operation.kernel->is_first;
  } else if (operation.kind != Operation::record && operation.kind != Operation::wait) {
    target->ends_with_first = false;
  }
  if (operation.kind == Operation::record) operation.mark = ++operation.event->recorded;
  if (operation.kind == Operation::wait) operation.mark = operation.event->recorded;
  target->waiting.push_back(operation);
  return success;
}

/// Does what waits, all of it or until an event has come so often.
int drain(Stream *stream, const Event *until = nullptr, long mark = 0) {
  if (stream->is_draining) {
    fprintf(stderr, "emulated GPU: streams wait for each other\n");
    return sticky = launch_failed;
  }
  stream->is_draining = true;
  int code = success;
  while (code == success && !stream->waiting.empty() && !(until && until->done >= mark)) {
    if (stream->waiting.front().kind == Operation::launch) code = begin_behind(*stream);
    if (code != success) break;
    Operation operation = stream->waiting.front();
    stream->waiting.pop_front();
    code = perform(operation);
  }
  stream->is_draining = false;
  return code;
}

int come_to(const std::shared_ptr<Event> &event, long mark) {
  for (Stream *stream : streams) {
    if (event->done >= mark) return success;
    const bool has = std::any_of(
        stream->waiting.begin(), stream->waiting.end(), [&](const Operation &operation) {
          return operation.kind == Operation::record && operation.event == event;
        });
    if (!has) continue;
    if (int code = drain(stream, event.get(), mark)) return code;
  }
  if (event->done >= mark) return success;
  fprintf(stderr, "emulated GPU: an event is waited for that no stream holds any more\n");
  return sticky = launch_failed;
}

/// Whether it is memory of the stream's own GPU, or managed.
bool is_own(void *stream, uint64_t start, size_t bytes) {
  const Device &device = device_of(((Stream *)stream)->context);
  return device.holds(start, bytes) || is_managed(start, bytes);
}

std::shared_ptr<Event> event_of(void *handle) {
  auto found = events.find(handle);
  return found == events.end() ? nullptr : found->second;
}

int put_event(void *stream, void *handle, Operation::Kind kind) {
  Operation operation = {};
  operation.kind = kind;
  operation.event = event_of(handle);
  if (!stream || !operation.event) return invalid_handle;
  const bool is_own = operation.event->context == ((Stream *)stream)->context;
  if (kind == Operation::record && !is_own) return invalid_handle;
  return put(stream, operation);
}

/// A copy between memory of GPUs, from that of the stream's own.
int put_peer(void *stream, uint64_t to, uint64_t from, size_t bytes) {
  Operation operation = {};
  operation.kind = Operation::copy_peer;
  operation.to = to, operation.from = from, operation.bytes = bytes;
  return put(stream, operation);
}

}  // namespace

extern "C" {

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  LOCKED;
  if (!stream) return invalid_handle;
  if (!is_own(stream, to, bytes) || !is_pinned(from, bytes)) return invalid_value;
  Operation operation = {};
  operation.kind = Operation::copy_in;
  operation.to = to, operation.from = (uint64_t)from, operation.bytes = bytes;
  return put(stream, operation);
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  LOCKED;
  if (!stream) return invalid_handle;
  if (!is_own(stream, from, bytes) || !is_pinned(to, bytes)) return invalid_value;
  Operation operation = {};
  operation.kind = Operation::copy_out;
  operation.to = (uint64_t)to, operation.from = from, operation.bytes = bytes;
  return put(stream, operation);
}

int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t bytes, void *stream) {
  LOCKED;
  if (!stream) return invalid_handle;
  if (!is_own(stream, to, bytes)) return invalid_value;
  Operation operation = {};
  operation.kind = Operation::fill;
  operation.to = to, operation.byte = byte, operation.bytes = bytes;
  return put(stream, operation);
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  LOCKED;
  if (!stream) return invalid_handle;
  if (!is_own(stream, to, bytes) || !is_own(stream, from, bytes)) return invalid_value;
  return put_peer(stream, to, from, bytes);
}

/// A GPU's driver would take the host where access is not enabled; nobody here means that.
int cuMemcpyPeerAsync(uint64_t to, void *to_context, uint64_t from, void *from_context,
                      size_t bytes, void *stream) {
  LOCKED;
  const Context *receiver = (Context *)to_context, *sender = (Context *)from_context;
  if (!stream) return invalid_handle;
  if (!receiver || sender != ((Stream *)stream)->context) return invalid_context;
  const auto &peers = sender->peers;
  if (std::find(peers.begin(), peers.end(), receiver) == peers.end()) return peer_not_enabled;
  if (!device_of(receiver).holds(to, bytes) || !device_of(sender).holds(from, bytes)) {
    return invalid_value;
  }
  return put_peer(stream, to, from, bytes);
}

int cuStreamCreate(void **stream, unsigned) {
  LOCKED;
  if (!current) return invalid_context;
  Stream *made = new Stream();
  made->context = current;
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

int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
  LOCKED;
  return flags == 0 ? put_event(stream, event, Operation::wait) : (int)invalid_value;
}

int cuEventCreate(void **event, unsigned) {
  LOCKED;
  if (!current) return invalid_context;
  auto made = std::make_shared<Event>();
  made->context = current;
  *event = made.get();
  events[*event] = made;
  return success;
}

int cuEventDestroy_v2(void *event) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  return events.erase(event) == 1 ? success : invalid_handle;
}

int cuEventRecord(void *event, void *stream) {
  LOCKED;
  return put_event(stream, event, Operation::record);
}

int cuEventSynchronize(void *handle) {
  LOCKED;
  const auto event = event_of(handle);
  return event ? come_to(event, event->recorded) : (int)invalid_handle;
}

int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
  LOCKED;
  const auto first = event_of(start), last = event_of(end);
  if (!first || !last) return invalid_handle;
  *milliseconds = (float)(last->time - first->time);
  return success;
}

int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads,
                   unsigned threads_y, unsigned threads_z, unsigned shared, void *stream,
                   void **parameters, void **) {
  LOCKED;
  const Function *called = (Function *)function;
  if (!stream || called->context != ((Stream *)stream)->context) return invalid_handle;
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
  if (has_host_address(operation.argument)) {
    fprintf(stderr, "emulated GPU: kernel %s: an address of the host's in its argument\n",
            called->kernel->name);
    return invalid_value;
  }
  return put(stream, operation);
}

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int, size_t shared) {
  // A multiprocessor has shared memory for one block with an option, and registers for two.
  *blocks = shared > 232448 / 2 ? 1 : 2;
  return success;
}

/// A launch's shape and stream as the driver lays them out, and attributes: of those 2 counts here,
/// "together", and 6, "may begin before the kernel in front is done".
struct LaunchAttribute { int id, unused; int32_t value, rest[15]; };
struct LaunchConfiguration {
  unsigned x, y, z, threads, threads_y, threads_z, shared;
  void *stream;
  const LaunchAttribute *attributes;
  unsigned attribute_count;
};

int cuLaunchKernelEx(const LaunchConfiguration *launch, void *function, void **parameters,
                     void **extra) {
  LOCKED;
  bool is_together = false, is_early = false;
  for (unsigned i = 0; i < launch->attribute_count; i++) {
    is_together |= launch->attributes[i].id == 2 && launch->attributes[i].value;
    is_early |= launch->attributes[i].id == 6 && launch->attributes[i].value;
  }
  Stream *stream = (Stream *)launch->stream;
  const emulation::Kernel *kernel = ((Function *)function)->kernel;
  const bool must_wait = kernel->is_first || (stream && stream->ends_with_first);
  if (is_early && must_wait && stream && !stream->is_capturing) {
    fprintf(stderr, "emulated GPU: kernel %s may begin before what all read without waiting is "
            "there\n", kernel->name);
    return invalid_value;
  }
  int most = 0;
  cuOccupancyMaxActiveBlocksPerMultiprocessor(&most, function, (int)launch->threads,
                                              launch->shared);
  if (is_together != kernel->is_together) return invalid_value;
  if (is_together && launch->x > (unsigned)(most * multiprocessors)) return too_large_together;
  const int code = cuLaunchKernel(function, launch->x, launch->y, launch->z, launch->threads,
                                  launch->threads_y, launch->threads_z, launch->shared,
                                  launch->stream, parameters, extra);
  if (code != success) return code;
  (stream->is_capturing ? stream->captured.back() : stream->waiting.back()).is_early = is_early;
  return success;
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
  // Its first kernel begins when all in front is done.
  bool is_first = true;
  for (Operation operation : ((Graph *)executable)->operations) {
    operation.is_early &= !is_first;
    is_first = false;
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
