// SPDX-License-Identifier: Apache-2.0
// One reader that stops reading for a while, beside others whose gaps between deltas are measured,
// from one thread. Prints a line of JSON for each window of time, and one about the slow reader.
//
//   slow_reader --target HOST:PORT --reference HOST:PORT [--readers N] [--rounds N]
//               [--window-ms N] [--base-windows N] [--stall-windows N] [--reader-tokens N]
//               [--slow-tokens N] [--client-window-bytes N]
//
// In each round there are --base-windows of the others alone; then the slow one begins a generation
// of --slow-tokens, reads its first delta, and stops for --stall-windows; then it reads to the end,
// and --base-windows more follow. It must have the same tokens and text as from the server at
// --reference, where the same is read without a stop.
#include <algorithm>
#include <memory>

#include "arguments.h"
#include "generation_log.h"
#include "stream.h"

namespace {

constexpr uint32_t kSlowSalt = 89;

// A session with one generation at a time, whose tokens are kept.
class SlowReader : public Call {
 public:
  SlowReader(grpc_channel* channel, grpc_completion_queue* queue) : Call(channel, queue) {}

  void Begin(uint32_t tokens) {
    if (!is_open()) Open(PathOf(Method::kSession));
    log_ = std::make_unique<GenerationLog>(tokens, true);
    Request request;
    request.tokens = tokens;
    request.prompt_tokens = 4;
    Send(EncodeStart(Method::kSession, request, ++number_, kSlowSalt));
  }

  // Stops it at the next delta of this generation.
  void StopReading() { is_stopping_ = true; }

  void GoOn() {
    is_stopping_ = false;
    SetReading(true);
  }

  bool has_ended() const { return log_ == nullptr || log_->has_ended() || !error_.empty(); }
  const GenerationLog& log() const { return *log_; }
  const std::string& error() const { return error_; }
  uint64_t message_bytes_max() const { return message_bytes_max_; }

 private:
  void Received(const uint8_t* bytes, size_t size) override {
    if (!frame_.ParseFromArray(bytes, static_cast<int>(size))) return Note("no protobuf");
    if (frame_.generation() == 0) return Note(stream_log_.Take(frame_));
    if (frame_.generation() != number_) return Note("a frame of another generation");
    Note(log_->Take(frame_));
    if (!frame_.has_delta()) return;
    message_bytes_max_ = std::max<uint64_t>(message_bytes_max_, size);
    if (is_stopping_) SetReading(false);
  }

  void Ended(grpc_status_code status, const std::string& details) override {
    if (status != GRPC_STATUS_OK) Note("status " + std::to_string(status) + ": " + details);
    if (!has_ended()) Note("the stream ended");
  }

  void Note(const std::string& problem) {
    if (error_.empty()) error_ = problem;
  }

  StreamLog stream_log_;
  std::unique_ptr<GenerationLog> log_;
  silica::v1::ServerFrame frame_;
  uint32_t number_ = 0;
  bool is_stopping_ = false;
  uint64_t message_bytes_max_ = 0;
  std::string error_;
};

class Queue {
 public:
  Queue() { queue_ = grpc_completion_queue_create_for_next(nullptr); }
  ~Queue() { Destroy(queue_); }
  grpc_completion_queue* get() const { return queue_; }

  // Takes events until that time, or until a condition holds, which is asked after each.
  template <typename Condition>
  bool DrainUntil(uint64_t time, Condition is_done) {
    const gpr_timespec until =
        gpr_time_from_nanos(static_cast<int64_t>(time), GPR_CLOCK_MONOTONIC);
    while (!is_done()) {
      const grpc_event event = grpc_completion_queue_next(queue_, until, nullptr);
      if (event.type != GRPC_OP_COMPLETE) return false;
      Call::Complete(event);
    }
    return true;
  }

 private:
  grpc_completion_queue* queue_;
};

// The connection of all readers. What the slow one does not take shall soon stay in the server, so
// the window of HTTP/2 does not grow.
class Channel {
 public:
  explicit Channel(const Arguments& arguments)
      : channel_(OpenChannel(arguments.target(),
                             {{GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
                               static_cast<int>(arguments["client-window-bytes"])},
                              {GRPC_ARG_HTTP2_BDP_PROBE, 0}})) {}
  ~Channel() { grpc_channel_destroy(channel_); }
  grpc_channel* get() const { return channel_; }

 private:
  grpc_channel* const channel_;
};

uint64_t After(int64_t milliseconds) {
  return NowNanoseconds() + static_cast<uint64_t>(milliseconds) * 1'000'000;
}

// The generation of the slow reader, read without a stop.
struct Answer {
  std::vector<uint32_t> tokens;
  std::string text;
};

Answer ReadAtOnce(const std::string& target, uint32_t tokens) {
  Queue queue;
  grpc_channel* channel = OpenChannel(target);
  Answer answer;
  {
    SlowReader reader(channel, queue.get());
    reader.Begin(tokens);
    queue.DrainUntil(After(60'000), [&] { return reader.has_ended(); });
    if (!reader.error().empty()) Arguments::Usage("reference: " + reader.error());
    answer = {reader.log().tokens(), reader.log().text()};
    reader.Close();
    queue.DrainUntil(After(10'000), [&] { return reader.is_over(); });
  }
  grpc_channel_destroy(channel);
  return answer;
}

class Measurement {
 public:
  Measurement(const Arguments& arguments, grpc_channel* channel)
      : arguments_(arguments), channel_(channel), slow_(channel, queue_.get()) {
    for (int64_t i = 0; i < arguments["readers"]; ++i) {
      readers_.push_back(std::make_unique<Stream>(
          Method::kSession, channel_, queue_.get(), static_cast<uint32_t>(i) % kSlowSalt));
    }
  }

  // Returns whether all was as it must be.
  bool Run(const Answer& expected) {
    StartReaders();
    Window("warm-up");
    bool is_well = true;
    for (int64_t round = 0; round < arguments_["rounds"]; ++round) {
      Windows("base", arguments_["base-windows"]);
      is_well = Stall(expected) && is_well;
      Windows("base", arguments_["base-windows"]);
    }
    if (tally_.errors > 0) std::printf("{\"error\": \"%s\"}\n", Plain(tally_.error).c_str());
    CancelAll();
    return is_well && tally_.errors == 0;
  }

 private:
  // Generations of different lengths, so that they do not all end at once.
  void StartReaders() {
    const auto tokens = static_cast<uint32_t>(arguments_["reader-tokens"]);
    for (size_t i = 0; i < readers_.size(); ++i) {
      Request request;
      request.tokens = tokens / 4 + static_cast<uint32_t>(i * tokens * 3 / 4 / readers_.size());
      readers_[i]->Start(request, &tally_);
    }
  }

  void Restart() {
    Request request;
    request.tokens = static_cast<uint32_t>(arguments_["reader-tokens"]);
    for (const auto& reader : readers_) {
      if (reader->is_idle() && tally_.errors == 0) reader->Start(request, &tally_);
    }
  }

  template <typename Condition>
  bool RunUntil(uint64_t time, Condition is_done) {
    return queue_.DrainUntil(time, [&] {
      Restart();
      return is_done();
    });
  }

  void Windows(const char* name, int64_t count) {
    for (int64_t i = 0; i < count; ++i) Window(name);
  }

  void Window(const char* name) {
    tally_.gap_us.clear();
    const uint64_t start = NowNanoseconds();
    const uint64_t tokens = tally_.tokens;
    RunUntil(After(arguments_["window-ms"]), [] { return false; });
    const size_t count = tally_.gap_us.size();
    const uint32_t half = Percentile(tally_.gap_us, 0.5);
    const uint32_t most = Percentile(tally_.gap_us, 0.99);
    std::printf("{\"window\": \"%s\", \"start_ns\": %lu, \"end_ns\": %lu, \"tokens\": %lu, "
                "\"gaps\": %zu, \"gap_p50_us\": %u, \"gap_p99_us\": %u}\n",
                name, start, NowNanoseconds(), tally_.tokens - tokens, count, half, most);
    std::fflush(stdout);
  }

  // False if what was read is not what is expected.
  bool Stall(const Answer& expected) {
    slow_.Begin(static_cast<uint32_t>(arguments_["slow-tokens"]));
    slow_.StopReading();
    const uint64_t start = NowNanoseconds();
    Windows("stall", arguments_["stall-windows"]);
    const uint64_t end = NowNanoseconds();
    const uint32_t before = slow_.log().token_count();
    slow_.GoOn();
    RunUntil(After(60'000), [&] { return slow_.has_ended(); });
    const GenerationLog& log = slow_.log();
    const bool is_equal = log.tokens() == expected.tokens && log.text() == expected.text;
    std::printf("{\"stall_s\": %.3f, \"read_before\": %u, \"read\": %u, \"expected\": %zu, "
                "\"is_equal\": %s, \"has_end\": %s, \"read_to_end_s\": %.3f, "
                "\"message_bytes_max\": %lu, \"error\": \"%s\"}\n",
                Seconds(end - start), before, log.token_count(), expected.tokens.size(),
                is_equal ? "true" : "false", log.has_ended() ? "true" : "false",
                Seconds(NowNanoseconds() - end), slow_.message_bytes_max(),
                Plain(slow_.error()).c_str());
    std::fflush(stdout);
    return is_equal && log.has_ended() && slow_.error().empty();
  }

  static double Seconds(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

  // Ends all calls, so that the queue can end.
  void CancelAll() {
    Tally ignored;
    for (const auto& reader : readers_) {
      reader->SetTally(&ignored);
      reader->Cancel();
    }
    slow_.Cancel();
    queue_.DrainUntil(After(10'000), [&] {
      return slow_.is_over() &&
             std::all_of(readers_.begin(), readers_.end(),
                         [](const auto& reader) { return reader->is_over(); });
    });
  }

  const Arguments arguments_;
  Queue queue_;
  grpc_channel* const channel_;
  Tally tally_;
  std::vector<std::unique_ptr<Stream>> readers_;
  SlowReader slow_;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(
      argc, argv,
      {{"readers", 63}, {"rounds", 1}, {"window-ms", 5'000}, {"base-windows", 2},
       {"stall-windows", 12}, {"reader-tokens", 2'000}, {"slow-tokens", 3'000},
       {"client-window-bytes", 65'536}},
      {{"reference", ""}});
  if (arguments.text("reference").empty()) Arguments::Usage("--reference is required");
  grpc_init();
  const Answer expected =
      ReadAtOnce(arguments.text("reference"), static_cast<uint32_t>(arguments["slow-tokens"]));
  bool is_well = false;
  {
    Channel channel(arguments);
    is_well = Measurement(arguments, channel.get()).Run(expected);
  }
  grpc_shutdown();
  return is_well ? 0 : 1;
}
