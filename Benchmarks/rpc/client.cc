// SPDX-License-Identifier: Apache-2.0
// The load client of the RPC benchmark: one thread, any number of streams, any server of
// silica.v1.Inference. Prints one line of JSON.
//
//   client --target HOST:PORT [--method session|generate] [--streams N] [--connections N]
//          [--tokens N] [--delta-tokens N] [--prompt-tokens N] [--warm-up N] [--repeat N]
//          [--server-pid PID] [--allocations FILE] [--statistics 1]
//
// All streams start a generation of --tokens tokens at once, --repeat times, after one of --warm-up
// tokens that is not counted. With --server-pid, the server's CPU time in that span is told; with
// --allocations, what allocations.so counted in it. With --statistics, the server is asked at the
// end how long its messages took from the end of their step to C-core, all since its start.
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "allocations.h"
#include "arguments.h"
#include "statistics.h"
#include "stream.h"

namespace {

struct Options {
  std::string target;
  Method method = Method::kSession;
  int streams = 0;
  int connections = 0;
  uint32_t warm_up = 0;
  int repeat = 0;
  pid_t server = 0;
  std::string allocations;
  bool statistics = false;
  Request request;
};

Options Read(const Arguments& arguments) {
  Options options;
  const std::string& method = arguments.text("method");
  if (method != "session" && method != "generate") {
    Arguments::Usage("--method is '" + method + "'; expected session or generate");
  }
  options.target = arguments.target();
  options.method = method == "generate" ? Method::kGenerate : Method::kSession;
  options.streams = static_cast<int>(arguments["streams"]);
  options.connections = static_cast<int>(arguments["connections"]);
  options.warm_up = static_cast<uint32_t>(arguments["warm-up"]);
  options.repeat = static_cast<int>(arguments["repeat"]);
  options.server = static_cast<pid_t>(arguments["server-pid"]);
  options.allocations = arguments.text("allocations");
  options.statistics = arguments["statistics"] > 0;
  options.request.tokens = static_cast<uint32_t>(arguments["tokens"]);
  options.request.delta_tokens_max = static_cast<uint32_t>(arguments["delta-tokens"]);
  options.request.prompt_tokens = static_cast<uint32_t>(arguments["prompt-tokens"]);
  if (options.streams < 1 || options.connections < 1) {
    Arguments::Usage("expected at least one stream");
  }
  return options;
}

// The CPU time of a process so far, in nanoseconds; 0 if it is not known.
uint64_t CPUNanoseconds(pid_t process) {
  clockid_t clock;
  timespec time;
  if (process == 0 || clock_getcpuclockid(process, &clock) != 0) return 0;
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

// The counts of allocations.so in another process.
class Allocations {
 public:
  explicit Allocations(const std::string& path) {
    if (path.empty()) return;
    const int file = open(path.c_str(), O_RDONLY);
    void* memory = mmap(nullptr, sizeof(allocation_counts), PROT_READ, MAP_SHARED, file, 0);
    if (file < 0 || memory == MAP_FAILED) Arguments::Usage("cannot map " + path);
    counts_ = static_cast<const volatile allocation_counts*>(memory);
  }

  uint64_t count() const { return counts_ == nullptr ? 0 : counts_->count; }
  uint64_t bytes() const { return counts_ == nullptr ? 0 : counts_->bytes; }

 private:
  const volatile allocation_counts* counts_ = nullptr;
};

// What the span of the measurement took.
struct Span {
  double seconds = 0;
  uint64_t server_cpu = 0;
  uint64_t client_cpu = 0;
  uint64_t allocations = 0;
  uint64_t allocated_bytes = 0;
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options), allocations_(options.allocations) {
    grpc_init();
    queue_ = grpc_completion_queue_create_for_next(nullptr);
    for (int i = 0; i < options.connections; ++i) {
      channels_.push_back(OpenChannel(options.target));
    }
    for (int i = 0; i < options.streams; ++i) {
      streams_.push_back(std::make_unique<Stream>(
          options.method, channels_[static_cast<size_t>(i % options.connections)], queue_, i));
    }
  }

  ~Load() {
    streams_.clear();
    for (grpc_channel* channel : channels_) grpc_channel_destroy(channel);
    Destroy(queue_);
    grpc_shutdown();
  }

  void Run() {
    Tally warm;
    Request request = options_.request;
    request.tokens = options_.warm_up;
    if (request.tokens > 0) RunOnce(request, &warm);
    if (warm.errors > 0) Arguments::Usage("warm-up: " + warm.error);
    // So that measuring allocates nothing.
    const size_t count = static_cast<size_t>(options_.streams) * options_.repeat;
    tally_.first_us.reserve(count);
    tally_.gap_us.reserve(count * options_.request.tokens);
    for (int i = 0; i < options_.repeat; ++i) Measure();
    if (options_.method == Method::kSession) {
      for (const auto& stream : streams_) stream->Close();
    }
    DrainUntil([](const Stream& stream) { return stream.is_over(); });
    if (options_.statistics) latency_ = AskSendLatency(channels_.front(), queue_);
  }

  void Print() {
    const double messages = std::max<double>(1, static_cast<double>(tally_.messages));
    const double tokens = std::max<double>(1, static_cast<double>(tally_.tokens));
    std::printf(
        "{\"streams\": %d, \"connections\": %d, \"messages\": %lu, \"tokens\": %lu, "
        "\"seconds\": %.6f, \"messages_per_s\": %.1f, \"tokens_per_s\": %.1f, "
        "\"message_bytes\": %.2f, \"server_cpu_us_per_message\": %.4f, "
        "\"server_cpu_us_per_token\": %.4f, \"client_cpu_us_per_message\": %.4f, "
        "\"first_p50_us\": %u, \"first_p90_us\": %u, \"first_p99_us\": %u, "
        "\"gap_p50_us\": %u, \"gap_p99_us\": %u, \"allocations_per_token\": %.4f, "
        "\"allocated_bytes_per_token\": %.1f, \"send_count\": %lu, \"send_p50_us\": %lu, "
        "\"send_p90_us\": %lu, \"send_p99_us\": %lu, \"send_max_us\": %lu, "
        "\"errors\": %lu, \"error\": \"%s\"}\n",
        options_.streams, options_.connections, tally_.messages, tally_.tokens, span_.seconds,
        messages / span_.seconds, tokens / span_.seconds,
        static_cast<double>(tally_.bytes) / messages,
        static_cast<double>(span_.server_cpu) / 1e3 / messages,
        static_cast<double>(span_.server_cpu) / 1e3 / tokens,
        static_cast<double>(span_.client_cpu) / 1e3 / messages, Percentile(tally_.first_us, 0.5),
        Percentile(tally_.first_us, 0.9), Percentile(tally_.first_us, 0.99),
        Percentile(tally_.gap_us, 0.5), Percentile(tally_.gap_us, 0.99),
        static_cast<double>(span_.allocations) / tokens,
        static_cast<double>(span_.allocated_bytes) / tokens, latency_.count, latency_.p50_us,
        latency_.p90_us, latency_.p99_us, latency_.max_us, tally_.errors,
        Plain(tally_.error).c_str());
  }

  bool has_failed() const { return tally_.errors > 0; }

 private:
  void Measure() {
    const uint64_t server = CPUNanoseconds(options_.server);
    const uint64_t client = CPUNanoseconds(getpid());
    const uint64_t allocations = allocations_.count();
    const uint64_t bytes = allocations_.bytes();
    const uint64_t start = NowNanoseconds();
    RunOnce(options_.request, &tally_);
    span_.seconds += static_cast<double>(NowNanoseconds() - start) / 1e9;
    span_.server_cpu += CPUNanoseconds(options_.server) - server;
    span_.client_cpu += CPUNanoseconds(getpid()) - client;
    span_.allocations += allocations_.count() - allocations;
    span_.allocated_bytes += allocations_.bytes() - bytes;
  }

  void RunOnce(const Request& request, Tally* tally) {
    for (const auto& stream : streams_) stream->Start(request, tally);
    DrainUntil([](const Stream& stream) { return stream.is_idle(); });
  }

  // Takes events until `is_done` holds for every stream.
  template <typename Condition>
  void DrainUntil(Condition is_done) {
    size_t done = 0;
    while (true) {
      while (done < streams_.size() && is_done(*streams_[done])) ++done;
      if (done == streams_.size()) return;
      const grpc_event event =
          grpc_completion_queue_next(queue_, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
      if (event.type == GRPC_OP_COMPLETE) Call::Complete(event);
    }
  }

  const Options options_;
  const Allocations allocations_;
  grpc_completion_queue* queue_ = nullptr;
  std::vector<grpc_channel*> channels_;
  std::vector<std::unique_ptr<Stream>> streams_;
  Tally tally_;
  Span span_;
  SendLatency latency_;
};

}  // namespace

int main(int argc, char** argv) {
  const Request request;
  Load load(Read(Arguments(argc, argv,
                           {{"streams", 1}, {"connections", 1}, {"tokens", request.tokens},
                            {"delta-tokens", request.delta_tokens_max},
                            {"prompt-tokens", request.prompt_tokens}, {"warm-up", 16},
                            {"repeat", 1}, {"server-pid", 0}, {"statistics", 0}},
                           {{"method", "session"}, {"allocations", ""}})));
  load.Run();
  load.Print();
  return load.has_failed() ? 1 : 0;
}
