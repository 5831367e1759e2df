// SPDX-License-Identifier: Apache-2.0
// A storm of calls on one server, from one thread. Prints one line of JSON; exits with 1 if
// anything was not as it must be.
//
//   storm --target HOST:PORT [--calls N] [--streams N] [--connections N] [--cancels N]
//         [--cancel-ms N] [--tokens N] [--seed N]
//   storm --target HOST:PORT --hold N [--connections N] [--resume-ms N]
//
// --calls calls, --streams of them open at a time: sessions of one to four generations, and one in
// four a `Generate`, of up to --tokens tokens each. --cancels of them are cancelled at a random
// moment in --cancel-ms, by turns by `cancel` frames and by cancelling the call; these ask for four
// times the tokens. With --hold it starts so many streams of 4,000 tokens, every other one with
// `resume_ms`, says "holding" when each has brought something, and reads for 60 s: to be killed.
#include <unistd.h>

#include <functional>
#include <memory>
#include <queue>
#include <random>

#include "arguments.h"
#include "generation_log.h"
#include "stream.h"

namespace {

enum class Cancelling { kNot, kFrame, kCall };

// What one call does.
struct Plan {
  Method method = Method::kSession;
  std::vector<uint32_t> tokens;  // of each generation
  Cancelling cancelling = Cancelling::kNot;
  uint32_t salt = 0;
  uint32_t resume_ms = 0;
};

struct Counts {
  uint64_t calls = 0;
  uint64_t generations = 0;  // accepted
  uint64_t tokens = 0;
  uint64_t cancels = 0;           // that were sent
  uint64_t cancelled_frames = 0;  // generations that ended by a frame
  uint64_t cancelled_calls = 0;
  uint64_t errors = 0;
  std::string error;
};

class StormCall : public Call {
 public:
  StormCall(grpc_channel* channel, grpc_completion_queue* queue, Counts* counts)
      : Call(channel, queue), counts_(counts) {}

  void Start(const Plan& plan) {
    Reset();
    plan_ = plan;
    ++serial_;
    is_running_ = true;
    was_cancelled_ = false;
    logs_.clear();
    stream_log_ = StreamLog();
    Open(PathOf(plan.method));
    for (size_t i = 0; i < plan.tokens.size(); ++i) {
      logs_.emplace_back(plan.tokens[i], false);
      Request request;
      request.tokens = plan.tokens[i];
      request.prompt_tokens = 4;
      request.resume_ms = plan.resume_ms;
      Send(EncodeStart(plan.method, request, static_cast<uint32_t>(i + 1), plan.salt));
    }
    if (plan.method == Method::kGenerate || plan.cancelling != Cancelling::kFrame) Close();
  }

  // The moment to cancel has come; it may be too late.
  void CancelNow() {
    if (plan_.cancelling == Cancelling::kCall) {
      was_cancelled_ = true;
      ++counts_->cancels;
      Cancel();
      return;
    }
    for (size_t i = 0; i < logs_.size(); ++i) {
      if (logs_[i].has_ended()) continue;
      silica::v1::ClientFrame frame;
      frame.set_generation(static_cast<uint32_t>(i + 1));
      frame.mutable_cancel();
      logs_[i].NoteCancel();
      ++counts_->cancels;
      Send(frame.SerializeAsString());
    }
    Close();
  }

  bool is_running() const { return is_running_; }
  uint64_t serial() const { return serial_; }
  bool has_begun() const { return !logs_.empty() && logs_[0].token_count() > 0; }

 private:
  void Received(const uint8_t* bytes, size_t size) override {
    if (plan_.method == Method::kGenerate) {
      if (!response_.ParseFromArray(bytes, static_cast<int>(size))) return Fail("no protobuf");
      return Check(logs_[0].Take(response_));
    }
    if (!frame_.ParseFromArray(bytes, static_cast<int>(size))) return Fail("no protobuf");
    const uint32_t generation = frame_.generation();
    if (generation == 0) return Check(stream_log_.Take(frame_));
    if (generation > logs_.size()) {
      return Fail("a frame of generation " + std::to_string(generation));
    }
    Check(logs_[generation - 1].Take(frame_));
  }

  void Ended(grpc_status_code status, const std::string& details) override {
    is_running_ = false;
    ++counts_->calls;
    for (const GenerationLog& log : logs_) {
      counts_->generations += log.is_accepted();
      counts_->tokens += log.token_count();
      counts_->cancelled_frames += log.has_ended_by_cancel();
    }
    if (was_cancelled_ && status == GRPC_STATUS_CANCELLED) {
      ++counts_->cancelled_calls;
      return;
    }
    if (status != GRPC_STATUS_OK) return Fail("status " + std::to_string(status) + ": " + details);
    for (const GenerationLog& log : logs_) Check(log.End());
  }

  void Check(const std::string& problem) {
    if (!problem.empty()) Fail(problem);
  }

  void Fail(const std::string& problem) {
    ++counts_->errors;
    if (counts_->error.empty()) counts_->error = problem;
  }

  Counts* const counts_;
  Plan plan_;
  StreamLog stream_log_;
  std::vector<GenerationLog> logs_;
  silica::v1::ServerFrame frame_;
  silica::v1::GenerateResponse response_;
  uint64_t serial_ = 0;
  bool is_running_ = false;
  bool was_cancelled_ = false;
};

class Storm {
 public:
  explicit Storm(const Arguments& arguments)
      : arguments_(arguments), random_(static_cast<uint64_t>(arguments["seed"])) {
    grpc_init();
    queue_ = grpc_completion_queue_create_for_next(nullptr);
    for (int64_t i = 0; i < arguments["connections"]; ++i) {
      channels_.push_back(OpenChannel(arguments.target()));
    }
    const int64_t hold = arguments["hold"];
    for (int64_t i = 0; i < (hold > 0 ? hold : arguments["streams"]); ++i) {
      grpc_channel* channel = channels_[static_cast<size_t>(i) % channels_.size()];
      calls_.push_back(std::make_unique<StormCall>(channel, queue_, &counts_));
    }
  }

  ~Storm() {
    calls_.clear();
    for (grpc_channel* channel : channels_) grpc_channel_destroy(channel);
    Destroy(queue_);
    grpc_shutdown();
  }

  void Run() {
    const uint64_t start = NowNanoseconds();
    for (const auto& call : calls_) StartNext(call.get());
    while (counts_.calls < static_cast<uint64_t>(arguments_["calls"])) {
      const bool has_moment = !moments_.empty();
      const bool has_event = Next(has_moment ? moments_.top().time : NowNanoseconds() + kSecond);
      if (!has_event && NowNanoseconds() - start > kTimeMax) {
        counts_.errors += 1;
        counts_.error = "not over after 100 s";
        break;
      }
      while (!moments_.empty() && moments_.top().time <= NowNanoseconds()) {
        const Moment moment = moments_.top();
        moments_.pop();
        StormCall* call = moment.call;
        if (call->is_running() && call->serial() == moment.serial) call->CancelNow();
      }
    }
    seconds_ = static_cast<double>(NowNanoseconds() - start) / 1e9;
  }

  // For a client that is to be killed.
  void Hold() {
    Plan plan;
    plan.tokens = {4000};
    for (size_t i = 0; i < calls_.size(); ++i) {
      plan.salt = static_cast<uint32_t>(i);
      plan.resume_ms = i % 2 == 0 ? static_cast<uint32_t>(arguments_["resume-ms"]) : 0;
      calls_[i]->Start(plan);
    }
    const uint64_t end = NowNanoseconds() + 60 * kSecond;
    for (size_t begun = 0; NowNanoseconds() < end;) {
      Next(end);
      if (begun == calls_.size()) continue;
      while (begun < calls_.size() && calls_[begun]->has_begun()) ++begun;
      if (begun == calls_.size()) {
        std::printf("holding\n");
        std::fflush(stdout);
      }
    }
  }

  void Print() const {
    std::printf(
        "{\"calls\": %lu, \"generations\": %lu, \"tokens\": %lu, \"seconds\": %.3f, "
        "\"cancels\": %lu, \"cancelled_by_frame\": %lu, \"cancelled_calls\": %lu, "
        "\"errors\": %lu, \"error\": \"%s\"}\n",
        counts_.calls, counts_.generations, counts_.tokens, seconds_, counts_.cancels,
        counts_.cancelled_frames, counts_.cancelled_calls, counts_.errors,
        Plain(counts_.error).c_str());
  }

  bool has_failed() const { return counts_.errors > 0; }

 private:
  // When a call is to be cancelled.
  struct Moment {
    uint64_t time;
    StormCall* call;
    uint64_t serial;
    bool operator>(const Moment& other) const { return time > other.time; }
  };

  static constexpr uint64_t kSecond = 1'000'000'000;
  static constexpr uint64_t kTimeMax = 100 * kSecond;

  // Takes an event, and starts the next call in place of one that is over. False: none came.
  bool Next(uint64_t deadline) {
    gpr_timespec until = gpr_time_from_nanos(static_cast<int64_t>(deadline), GPR_CLOCK_MONOTONIC);
    const grpc_event event = grpc_completion_queue_next(queue_, until, nullptr);
    if (event.type != GRPC_OP_COMPLETE) return false;
    Call::Complete(event);
    if (arguments_["hold"] > 0) return true;
    const auto tag = reinterpret_cast<uintptr_t>(event.tag) & ~static_cast<uintptr_t>(7);
    auto* call = static_cast<StormCall*>(reinterpret_cast<Call*>(tag));
    if (!call->is_running()) StartNext(call);
    return true;
  }

  void StartNext(StormCall* call) {
    const auto calls = static_cast<uint64_t>(arguments_["calls"]);
    if (started_ == calls) return;
    const Plan plan = MakePlan();
    call->Start(plan);
    ++started_;
    if (plan.cancelling == Cancelling::kNot) return;
    const uint64_t delay = Below(static_cast<uint32_t>(arguments_["cancel-ms"])) * 1'000'000ull;
    moments_.push({NowNanoseconds() + delay, call, call->serial()});
  }

  Plan MakePlan() {
    const auto calls = static_cast<uint64_t>(arguments_["calls"]);
    const auto cancels = static_cast<uint64_t>(arguments_["cancels"]);
    const auto tokens_max = static_cast<uint32_t>(arguments_["tokens"]);
    Plan plan;
    plan.salt = Below(1000);
    // Spread evenly; each cancels by the other way than the one before.
    const bool is_cancelled = started_ * cancels / calls != (started_ + 1) * cancels / calls;
    if (is_cancelled) {
      plan.cancelling = cancel_turn_++ % 2 == 0 ? Cancelling::kFrame : Cancelling::kCall;
    }
    if (plan.cancelling != Cancelling::kFrame && Below(4) == 0) plan.method = Method::kGenerate;
    const bool has_one = plan.method == Method::kGenerate || is_cancelled || Below(4) != 0;
    const uint32_t count = has_one ? 1 : 2 + Below(3);
    for (uint32_t i = 0; i < count; ++i) {
      plan.tokens.push_back(is_cancelled ? tokens_max * 4 : 1 + Below(tokens_max));
    }
    return plan;
  }

  uint32_t Below(uint32_t count) { return static_cast<uint32_t>(random_() % count); }

  const Arguments arguments_;
  std::mt19937_64 random_;
  grpc_completion_queue* queue_ = nullptr;
  std::vector<grpc_channel*> channels_;
  std::vector<std::unique_ptr<StormCall>> calls_;
  std::priority_queue<Moment, std::vector<Moment>, std::greater<Moment>> moments_;
  Counts counts_;
  uint64_t started_ = 0;
  uint64_t cancel_turn_ = 0;
  double seconds_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(
      argc, argv,
      {{"calls", 10'000}, {"streams", 1'000}, {"connections", 8}, {"cancels", 1'000},
       {"cancel-ms", 500}, {"tokens", 80}, {"seed", 1}, {"hold", 0}, {"resume-ms", 0}});
  Storm storm(arguments);
  if (arguments["hold"] > 0) {
    storm.Hold();
    _exit(0);
  }
  storm.Run();
  storm.Print();
  std::fflush(stdout);
  // Calls that are not over, after an error, would hold the end up.
  if (storm.has_failed()) _exit(1);
}
