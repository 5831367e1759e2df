// SPDX-License-Identifier: Apache-2.0
// Graphs of the emulated driver, captured from a stream, and what the driver refuses meanwhile:
// calls that wait, take or give back memory, or look at what is captured. Such a call also makes
// void what was captured (`cuThreadExchangeStreamCaptureMode` says in which threads).
#include "driver_state.h"

using namespace emulation;

namespace {

/// `CUstreamCaptureMode`: who may not make such calls is all threads, the one that captures, or
/// nobody.
enum Mode { global = 0, thread_local_only = 1, relaxed = 2 };

struct Graph {
  const Context *context;
  std::vector<Operation> operations;
};

/// One that can be launched; once at a time.
struct Executable : Graph {
  /// Recorded behind each launch, and the stream of the last.
  std::shared_ptr<Event> ended;
  const Stream *stream = nullptr;
};

std::map<const void *, std::unique_ptr<Graph>> graphs;
std::map<const void *, std::unique_ptr<Executable>> executables;

int put_event(Stream *stream, const std::shared_ptr<Event> &event, Operation::Kind kind) {
  Operation operation = {};
  operation.kind = kind;
  operation.event = event;
  return put(stream, operation);
}

template <class Map> void erase_of(Map &map, const Context *context) {
  for (auto entry = map.begin(); entry != map.end();) {
    entry = entry->second->context == context ? map.erase(entry) : ++entry;
  }
}

}  // namespace

Code emulation::void_capture(Stream *stream, Code code, const char *call) {
  stream->capture->is_valid = false;
  return refuse(code, "%s is not for a stream that is being captured", call);
}

Code emulation::conflicts_with_capture(const char *call) {
  bool conflicts = false;
  for (Stream *stream : all_streams()) {
    if (!stream->capture) continue;
    const Capture &capture = *stream->capture;
    const bool is_own = capture.thread == std::this_thread::get_id();
    if (capture.mode != global && !(capture.mode == thread_local_only && is_own)) continue;
    conflicts = true;
    stream->capture->is_valid = false;
  }
  return conflicts ? refuse(capture_unsupported, "%s while a stream is captured", call) : success;
}

void emulation::end_graphs(const Context *context) {
  erase_of(graphs, context);
  erase_of(executables, context);
}

extern "C" {

int cuStreamBeginCapture_v2(void *handle, int mode) {
  IN_CONTEXT;
  if (!handle) return refuse(capture_unsupported, "the default stream cannot be captured");
  Stream *stream = stream_of(handle);
  if (!stream) return refuse(invalid_handle, "no such stream");
  if (mode < global || mode > relaxed) return invalid_value;
  if (stream->capture) return refuse(illegal_state, "the stream is being captured already");
  stream->capture = std::make_unique<Capture>();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  return success;
}

int cuStreamEndCapture(void *handle, void **graph) {
  IN_CONTEXT;
  *graph = nullptr;
  Stream *stream = stream_of(handle);
  if (!stream) return refuse(invalid_handle, "no such stream");
  if (!stream->capture) return refuse(illegal_state, "the stream is not being captured");
  const bool is_own = stream->capture->thread == std::this_thread::get_id();
  if (stream->capture->mode != relaxed && !is_own) {
    return refuse(capture_wrong_thread, "another thread began to capture the stream");
  }
  const std::unique_ptr<Capture> capture = std::move(stream->capture);
  if (!capture->is_valid) return capture_invalidated;
  auto made = std::make_unique<Graph>();
  *made = {stream->context, std::move(capture->operations)};
  *graph = made.get();
  graphs[*graph] = std::move(made);
  return success;
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  IN_CONTEXT;
  auto found = graphs.find(graph);
  if (found == graphs.end()) return refuse(invalid_handle, "no such graph");
  if (flags != 0) return invalid_value;
  auto made = std::make_unique<Executable>();
  (Graph &)*made = *found->second;
  made->ended = std::make_shared<Event>();
  *executable = made.get();
  executables[*executable] = std::move(made);
  return success;
}

int cuGraphLaunch(void *handle, void *stream_handle) {
  IN_CONTEXT;
  auto found = executables.find(handle);
  Stream *stream = stream_of(stream_handle);
  if (found == executables.end() || !stream) {
    return refuse(invalid_handle, "no such executable graph, or no such stream");
  }
  Executable &executable = *found->second;
  if (executable.context != stream->context) {
    return refuse(invalid_handle, "the graph is of another context than the stream");
  }
  // It runs once at a time: behind its last launch, whichever stream that is in.
  if (executable.stream && executable.stream != stream && !stream->capture) {
    if (int code = put_event(stream, executable.ended, Operation::wait)) return code;
  }
  // Its first kernel begins when all in front is done.
  bool is_first = true;
  for (Operation operation : executable.operations) {
    operation.is_early &= !is_first;
    is_first = false;
    if (int code = put(stream, operation)) return code;
  }
  if (stream->capture) return success;
  executable.stream = stream;
  return put_event(stream, executable.ended, Operation::record);
}

int cuGraphDestroy(void *graph) {
  ALONE;
  return graphs.erase(graph) == 1 ? success : refuse(invalid_handle, "no such graph");
}

/// What is under way of it goes on.
int cuGraphExecDestroy(void *executable) {
  ALONE;
  return executables.erase(executable) == 1 ? success
                                            : refuse(invalid_handle, "no such executable graph");
}

}  // extern "C"
