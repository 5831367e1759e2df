// SPDX-License-Identifier: Apache-2.0
// Streams, events and copies of the emulated driver: what is put on a stream is done when somebody
// waits for it, and not before, so that a missing wait shows.
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
  return sticky = refuse(launch_failed, "kernel %s: %s", launched.kernel->name, error);
}

int launch(const Operation &operation) {
  static const long fault_at = setting("SILICA_EMULATED_FAULT", 0);
  if (++launches == fault_at) return sticky = illegal_address;
  if (!operation.module->is_loaded) {
    return sticky = refuse(launch_failed, "kernel %s was unloaded before its time had come",
                           operation.kernel->name);
  }
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

/// Whether what is copied, filled or a kernel's is still there, now that its time has come.
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
  case Operation::launch:
    return std::all_of(
        operation.addresses.begin(), operation.addresses.end(),
        [](uint64_t address) { return is_on_device(address, 1) || is_mapped(address); });
  default: return true;
  }
}

int perform(const Operation &operation) {
  if (!has_memory(operation)) {
    return sticky = refuse(illegal_address, "memory was freed before what was queued for it: %s",
                           operation.kernel ? operation.kernel->name : "a copy");
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

/// Does what waits, all of it or until an event has come so often.
int drain(Stream *stream, const Event *until = nullptr, long mark = 0) {
  if (stream->is_draining) {
    return sticky = refuse(launch_failed, "streams wait for each other");
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
  return sticky = refuse(launch_failed, "an event is waited for that no stream holds any more");
}

/// Whether it is memory of the stream's own GPU, or managed.
bool is_own(const Stream &stream, uint64_t start, size_t bytes) {
  return device_of(stream.context).holds(start, bytes) || is_managed(start, bytes);
}

Code no_stream() { return refuse(invalid_handle, "no such stream"); }
Code no_event() { return refuse(invalid_handle, "no such event"); }

/// Lets go of those that are destroyed and done.
void sweep() {
  const auto is_over = [](Stream *stream) {
    if (!stream->is_ending || !stream->waiting.empty()) return false;
    delete stream;
    return true;
  };
  streams.erase(std::remove_if(streams.begin(), streams.end(), is_over), streams.end());
}

/// Of a stream that is being captured: events there order what is captured, and nothing else.
int put_captured(Stream *stream, Operation operation) {
  Capture &capture = *stream->capture;
  if (!capture.is_valid) return refuse(capture_invalidated, "what was captured is void");
  switch (operation.kind) {
  case Operation::record: operation.event->captured_in = stream; return success;
  case Operation::wait:
    if (operation.event->captured_in == stream) return success;
    return void_capture(stream, operation.event->captured_in ? capture_merge : capture_isolation,
                        "an event of elsewhere");
  default: capture.operations.push_back(std::move(operation)); return success;
  }
}

int put_event(void *stream_handle, void *handle, Operation::Kind kind) {
  Operation operation = {};
  operation.kind = kind;
  operation.event = event_of(handle);
  Stream *stream = stream_of(stream_handle);
  if (!stream) return no_stream();
  if (!operation.event) return no_event();
  if (kind == Operation::record && operation.event->context != stream->context) {
    return refuse(invalid_handle, "the event is of another context than the stream");
  }
  return put(stream, std::move(operation));
}

/// A copy, or a fill, of `bytes`.
Operation moving(Operation::Kind kind, uint64_t to, uint64_t from, size_t bytes) {
  Operation operation = {};
  operation.kind = kind;
  operation.to = to, operation.from = from, operation.bytes = bytes;
  return operation;
}

}  // namespace

Stream *emulation::stream_of(const void *handle) {
  const auto found = std::find(streams.begin(), streams.end(), handle);
  return found == streams.end() || (*found)->is_ending ? nullptr : *found;
}

std::shared_ptr<Event> emulation::event_of(void *handle) {
  auto found = events.find(handle);
  return found == events.end() ? nullptr : found->second;
}

const std::vector<Stream *> &emulation::all_streams() { return streams; }

int emulation::put(Stream *stream, Operation operation) {
  if (stream->capture) return put_captured(stream, std::move(operation));
  switch (operation.kind) {
  case Operation::launch: stream->ends_with_first = operation.kernel->is_first; break;
  case Operation::record:
    operation.mark = ++operation.event->recorded;
    operation.event->captured_in = nullptr;
    break;
  case Operation::wait:
    if (operation.event->captured_in) {
      return refuse(capture_unsupported, "a stream that joins another's capture: not emulated");
    }
    operation.mark = operation.event->recorded;
    break;
  default: stream->ends_with_first = false;
  }
  stream->waiting.push_back(std::move(operation));
  return success;
}

void emulation::end_streams(const Context *context) {
  for (Stream *stream : streams) {
    if (stream->context != context) continue;
    stream->waiting.clear();
    stream->is_ending = true;
  }
  sweep();
  for (auto event = events.begin(); event != events.end();) {
    event = event->second->context == context ? events.erase(event) : ++event;
  }
}

extern "C" {

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream) return no_stream();
  if (!is_own(*stream, to, bytes) || !is_pinned(from, bytes)) return invalid_value;
  return put(stream, moving(Operation::copy_in, to, (uint64_t)from, bytes));
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream) return no_stream();
  if (!is_own(*stream, from, bytes) || !is_pinned(to, bytes)) return invalid_value;
  return put(stream, moving(Operation::copy_out, (uint64_t)to, from, bytes));
}

int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t bytes, void *handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream) return no_stream();
  if (!is_own(*stream, to, bytes)) return invalid_value;
  Operation operation = moving(Operation::fill, to, 0, bytes);
  operation.byte = byte;
  return put(stream, std::move(operation));
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream) return no_stream();
  if (!is_own(*stream, to, bytes) || !is_own(*stream, from, bytes)) return invalid_value;
  return put(stream, moving(Operation::copy_peer, to, from, bytes));
}

/// A GPU's driver would take the host where access is not enabled; nobody here means that.
int cuMemcpyPeerAsync(uint64_t to, void *to_context, uint64_t from, void *from_context,
                      size_t bytes, void *handle) {
  IN_CONTEXT;
  const Context *receiver = (Context *)to_context, *sender = (Context *)from_context;
  Stream *stream = stream_of(handle);
  if (!stream) return no_stream();
  if (!is_held(receiver) || !is_held(sender) || sender != stream->context) {
    return refuse(invalid_context, "a copy from or to a context that is not the right one");
  }
  const auto &peers = sender->peers;
  if (std::find(peers.begin(), peers.end(), receiver) == peers.end()) return peer_not_enabled;
  if (!device_of(receiver).holds(to, bytes) || !device_of(sender).holds(from, bytes)) {
    return invalid_value;
  }
  return put(stream, moving(Operation::copy_peer, to, from, bytes));
}

int cuStreamCreate(void **stream, unsigned flags) {
  IN_CONTEXT;
  if (flags > 1) return invalid_value;
  sweep();
  Stream *made = new Stream();
  made->context = current;
  streams.push_back(made);
  *stream = made;
  return success;
}

/// What waits in it is done still, when somebody waits for that.
int cuStreamDestroy_v2(void *handle) {
  ALONE;
  if (Code no = lacks_context()) return no;
  Stream *stream = stream_of(handle);
  if (!stream) return no_stream();
  if (stream->capture) return void_capture(stream, capture_unsupported, "cuStreamDestroy");
  // Nothing is done any more after a fault.
  if (sticky != success) stream->waiting.clear();
  stream->is_ending = true;
  sweep();
  return success;
}

int cuStreamSynchronize(void *handle) {
  IN_CONTEXT;
  Stream *stream = stream_of(handle);
  if (!stream) return no_stream();
  if (stream->capture) return void_capture(stream, capture_unsupported, "cuStreamSynchronize");
  NOT_IN_CAPTURE("cuStreamSynchronize");
  return drain(stream);
}

int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
  IN_CONTEXT;
  return flags == 0 ? put_event(stream, event, Operation::wait) : (int)invalid_value;
}

/// Flags: 1, whoever waits sleeps; 2, it tells no time; 4, of several processes.
int cuEventCreate(void **event, unsigned flags) {
  IN_CONTEXT;
  if (flags > 3) return invalid_value;
  auto made = std::make_shared<Event>();
  made->context = current;
  made->is_timed = !(flags & 2);
  *event = made.get();
  events[*event] = made;
  return success;
}

/// What waits for it does so still.
int cuEventDestroy_v2(void *event) {
  ALONE;
  if (Code no = lacks_context()) return no;
  return events.erase(event) == 1 ? success : no_event();
}

int cuEventRecord(void *event, void *stream) {
  IN_CONTEXT;
  return put_event(stream, event, Operation::record);
}

int cuEventSynchronize(void *handle) {
  IN_CONTEXT;
  const auto event = event_of(handle);
  if (!event) return no_event();
  if (event->captured_in) return refuse(captured_event, "an event that was captured never comes");
  NOT_IN_CAPTURE("cuEventSynchronize");
  return come_to(event, event->recorded);
}

int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
  IN_CONTEXT;
  const auto first = event_of(start), last = event_of(end);
  if (!first || !last) return no_event();
  for (const Event *event : {first.get(), last.get()}) {
    if (event->captured_in) return captured_event;
    if (!event->is_timed) return refuse(invalid_handle, "the event tells no time");
    if (event->recorded == 0) return refuse(invalid_handle, "the event was not recorded");
    if (event->done < event->recorded) return not_ready;
  }
  *milliseconds = (float)(last->time - first->time);
  return success;
}

}  // extern "C"
