// SPDX-License-Identifier: Apache-2.0
// What Silica's door is measured against: the same service on gRPC C++'s callback API, answering
// with a token a message as fast as each write completes, or at a rate.
//
//   peer --listen HOST:PORT [--token-bytes N] [--token-rate N]
//
// With a rate, a tick tells every stream that its next token is due, as an engine's step does. At
// its end it prints how long after its tick each write was begun.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "silica/v1/inference.grpc.pb.h"

namespace {

using namespace silica::v1;

using Clock = std::chrono::steady_clock;

// Something that is told when the next token of each of its generations is due.
class Paced {
 public:
  virtual ~Paced() = default;
  virtual void TokenDue() = 0;
};

// From a tick to the beginning of each write that it brings about, in microseconds.
class HandOverTimes {
 public:
  // On the thread that ticks: a tick, and its end.
  void Begin() { tick_ = Clock::now(); }
  void End() { tick_ = {}; }

  // A write begins.
  void Note() {
    if (tick_ == Clock::time_point{}) return;
    times_.push_back(std::chrono::duration<float, std::micro>(Clock::now() - tick_).count());
  }

  void Print() {
    std::sort(times_.begin(), times_.end());
    const auto at = [this](double share) {
      return times_.empty() ? 0 : times_[static_cast<size_t>(share * (times_.size() - 1))];
    };
    std::printf("peer: hand-over {\"count\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
                times_.size(), at(0.5), at(0.99));
  }

 private:
  static thread_local Clock::time_point tick_;
  // Of the thread that ticks.
  std::vector<float> times_;
};

thread_local Clock::time_point HandOverTimes::tick_;

// Ticks for paced reactors, from one thread; does nothing without a rate.
class Pacer {
 public:
  explicit Pacer(double rate) : rate_(rate) {
    if (rate_ > 0) thread_ = std::thread([this] { Run(); });
  }

  ~Pacer() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stops_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  bool is_active() const { return rate_ > 0; }
  HandOverTimes& hand_over_times() { return hand_over_times_; }

  void Add(Paced* paced) {
    std::lock_guard<std::mutex> lock(mutex_);
    paced_.insert(paced);
  }

  // After this it is not told any more.
  void Remove(Paced* paced) {
    std::lock_guard<std::mutex> lock(mutex_);
    paced_.erase(paced);
  }

 private:
  void Run() {
    const auto period = std::chrono::nanoseconds(static_cast<int64_t>(1e9 / rate_));
    auto next = Clock::now() + period;
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stops_) {
      changed_.wait_until(lock, next);
      while (!stops_ && Clock::now() >= next) {
        hand_over_times_.Begin();
        for (Paced* paced : paced_) paced->TokenDue();
        hand_over_times_.End();
        next += period;
      }
    }
  }

  const double rate_;
  HandOverTimes hand_over_times_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<Paced*> paced_;
  bool stops_ = false;
  std::thread thread_;
};

// The tokens that come out, all of one size.
class Words {
 public:
  static constexpr uint32_t kFirst = 256;
  static constexpr uint32_t kCount = 26;

  explicit Words(size_t bytes) {
    for (uint32_t word = 0; word < kCount; ++word) {
      std::string text(bytes, ' ');
      for (size_t i = bytes > 1 ? 1 : 0; i < bytes; ++i) text[i] = 'a' + (word + i) % kCount;
      texts_.push_back(text);
    }
  }

  void Write(uint32_t number, Delta* delta) const {
    const uint32_t word = number * 7 % kCount;
    delta->set_text(texts_[word]);
    delta->clear_token_ids();
    delta->add_token_ids(kFirst + word);
  }

 private:
  std::vector<std::string> texts_;
};

// A generation on its way out: accepted, its tokens, finished.
struct Generation {
  uint32_t key = 0;
  uint32_t token_count = 0;
  uint32_t sent = 0;
  // Tokens whose time has come.
  uint32_t due = 0;
  uint64_t sequence = 0;
  bool is_accepted = false;

  bool has_message() const { return !is_accepted || sent < due || sent == token_count; }
};

Generation Begin(uint32_t key, const Start& start, const Pacer& pacer) {
  Generation generation;
  generation.key = key;
  generation.token_count = start.stopping().max_tokens();
  generation.due = pacer.is_active() ? 0 : generation.token_count;
  return generation;
}

// Writes the next event of a generation into a frame or a response; returns whether it is the last.
template <typename Event>
bool WriteNext(Generation* generation, const Words& words, Event* event) {
  if (!generation->is_accepted) {
    generation->is_accepted = true;
    event->mutable_accepted()->set_model("peer");
    event->mutable_accepted()->set_prompt_tokens(1);
    return false;
  }
  if (generation->sent < generation->token_count) {
    words.Write(generation->sent++, event->mutable_delta());
    return false;
  }
  Finished* finished = event->mutable_finished();
  finished->set_reason(FINISH_REASON_LENGTH);
  finished->mutable_usage()->set_generated_tokens(generation->sent);
  return true;
}

// One `Session` call: generations take turns, one message is in flight.
class Session : public grpc::ServerBidiReactor<ClientFrame, ServerFrame>, public Paced {
 public:
  Session(const Words& words, Pacer* pacer) : words_(words), pacer_(pacer) {
    if (pacer_->is_active()) pacer_->Add(this);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!ok) {
      is_half_closed_ = true;
    } else if (request_.has_start()) {
      running_.push_back(Begin(request_.generation(), request_.start(), *pacer_));
    }
    if (ok) StartRead(&request_);
    Pump();
  }

  void OnWriteDone(bool ok) override {
    std::unique_lock<std::mutex> lock(mutex_);
    is_writing_ = false;
    if (!ok) running_.clear();
    Pump();
  }

  void TokenDue() override {
    std::unique_lock<std::mutex> lock(mutex_);
    for (Generation& generation : running_) {
      if (generation.is_accepted && generation.due < generation.token_count) ++generation.due;
    }
    Pump();
  }

  void OnDone() override {
    pacer_->Remove(this);
    delete this;
  }

 private:
  // Under the lock.
  void Pump() {
    if (is_writing_ || is_finished_) return;
    for (size_t turn = 0; turn < running_.size(); ++turn) {
      Generation generation = running_.front();
      running_.pop_front();
      if (generation.has_message()) return Write(generation);
      running_.push_back(generation);
    }
    if (is_half_closed_ && running_.empty()) {
      is_finished_ = true;
      Finish(grpc::Status::OK);
    }
  }

  void Write(Generation generation) {
    response_.set_generation(generation.key);
    response_.set_sequence(++generation.sequence);
    if (!WriteNext(&generation, words_, &response_)) running_.push_back(generation);
    is_writing_ = true;
    pacer_->hand_over_times().Note();
    StartWrite(&response_);
  }

  const Words& words_;
  Pacer* const pacer_;
  std::mutex mutex_;
  ClientFrame request_;
  ServerFrame response_;
  std::deque<Generation> running_;
  bool is_writing_ = false;
  bool is_half_closed_ = false;
  bool is_finished_ = false;
};

// One `Generate` call.
class Single : public grpc::ServerWriteReactor<GenerateResponse>, public Paced {
 public:
  Single(const GenerateRequest& request, const Words& words, Pacer* pacer)
      : words_(words), pacer_(pacer), generation_(Begin(1, request.start(), *pacer)) {
    if (pacer_->is_active()) pacer_->Add(this);
    std::unique_lock<std::mutex> lock(mutex_);
    Pump();
  }

  void OnWriteDone(bool ok) override {
    std::unique_lock<std::mutex> lock(mutex_);
    is_writing_ = false;
    if (!ok) is_last_ = true;
    Pump();
  }

  void TokenDue() override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (generation_.is_accepted && generation_.due < generation_.token_count) ++generation_.due;
    Pump();
  }

  void OnDone() override {
    pacer_->Remove(this);
    delete this;
  }

 private:
  void Pump() {
    if (is_writing_ || is_finished_) return;
    if (is_last_) {
      is_finished_ = true;
      return Finish(grpc::Status::OK);
    }
    if (!generation_.has_message()) return;
    is_last_ = WriteNext(&generation_, words_, &response_);
    is_writing_ = true;
    pacer_->hand_over_times().Note();
    StartWrite(&response_);
  }

  const Words& words_;
  Pacer* const pacer_;
  std::mutex mutex_;
  GenerateResponse response_;
  Generation generation_;
  bool is_writing_ = false;
  bool is_last_ = false;
  bool is_finished_ = false;
};

class Service : public Inference::CallbackService {
 public:
  Service(size_t token_bytes, double token_rate) : words_(token_bytes), pacer_(token_rate) {}

  void PrintTimes() {
    if (pacer_.is_active()) pacer_.hand_over_times().Print();
  }

  grpc::ServerBidiReactor<ClientFrame, ServerFrame>* Session(
      grpc::CallbackServerContext*) override {
    return new ::Session(words_, &pacer_);
  }

  grpc::ServerWriteReactor<GenerateResponse>* Generate(
      grpc::CallbackServerContext*, const GenerateRequest* request) override {
    return new Single(*request, words_, &pacer_);
  }

 private:
  const Words words_;
  Pacer pacer_;
};

}  // namespace

int main(int argc, char** argv) {
  std::string listen = "127.0.0.1:0";
  size_t token_bytes = 4;
  double token_rate = 0;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) {
      std::fprintf(stderr, "peer: %s needs a value\n", argv[i]);
      return 2;
    }
    if (name == "--listen") {
      listen = argv[i + 1];
    } else if (name == "--token-bytes") {
      token_bytes = std::strtoul(argv[i + 1], nullptr, 10);
    } else if (name == "--token-rate") {
      token_rate = std::strtod(argv[i + 1], nullptr);
    } else {
      std::fprintf(stderr, "peer: unknown option %s\n", argv[i]);
      return 2;
    }
  }
  // Waited for below; blocked before gRPC starts its threads.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  Service service(token_bytes, token_rate);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) {
    std::fprintf(stderr, "peer: cannot listen on %s\n", listen.c_str());
    return 1;
  }
  std::printf("peer: listening on %s:%d\n", listen.substr(0, listen.rfind(':')).c_str(), port);
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  service.PrintTimes();
  return 0;
}
