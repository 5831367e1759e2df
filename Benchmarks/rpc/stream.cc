// SPDX-License-Identifier: Apache-2.0
#include "stream.h"

#include <algorithm>

void Tally::Fail(const std::string& why) {
  ++errors;
  if (error.empty()) error = why;
}

uint32_t Percentile(std::vector<uint32_t>& values, double part) {
  if (values.empty()) return 0;
  const auto rank = static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<long>(rank), values.end());
  return values[rank];
}

std::string Plain(std::string text) {
  for (char& c : text) {
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 32) c = '\'';
  }
  return text;
}

void Stream::Start(const Request& request, Tally* tally) {
  tally_ = tally;
  tokens_wanted_ = request.tokens;
  tokens_ = 0;
  last_delta_ = 0;
  is_running_ = true;
  ++generation_;
  if (method_ == Method::kGenerate) Reset();
  if (!is_open()) Open(PathOf(method_));
  started_ = NowNanoseconds();
  Send(EncodeStart(method_, request, generation_, salt_));
  if (method_ == Method::kGenerate) Close();
}

void Stream::Received(const uint8_t* bytes, size_t size) {
  const Event event = Decode(method_, bytes, size);
  switch (event.kind) {
    case Event::kDelta: {
      const uint64_t now = NowNanoseconds();
      const uint64_t since = last_delta_ == 0 ? started_ : last_delta_;
      auto& times = last_delta_ == 0 ? tally_->first_us : tally_->gap_us;
      times.push_back(static_cast<uint32_t>((now - since) / 1000));
      last_delta_ = now;
      ++tally_->messages;
      tally_->bytes += size;
      tally_->tokens += event.tokens;
      tokens_ += event.tokens;
      break;
    }
    case Event::kFinished:
      if (tokens_ != tokens_wanted_) {
        tally_->Fail("a generation has " + std::to_string(tokens_) + " tokens");
      }
      // A call of its own ends with its status.
      if (method_ == Method::kSession) is_running_ = false;
      break;
    case Event::kFailed:
      tally_->Fail("a generation failed");
      is_running_ = false;
      break;
    case Event::kBroken:
      tally_->Fail("a message that is no protobuf");
      break;
    case Event::kOther:
      break;
  }
}

// The call is over; a session, by the wish of one side.
void Stream::Ended(grpc_status_code status, const std::string& details) {
  if (status != GRPC_STATUS_OK) {
    tally_->Fail("status " + std::to_string(status) + ": " + details);
  } else if (is_running_ && method_ == Method::kSession) {
    tally_->Fail("the stream ended");
  }
  is_running_ = false;
}
