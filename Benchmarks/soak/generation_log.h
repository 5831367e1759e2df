// SPDX-License-Identifier: Apache-2.0
// What a client hears of one generation, and whether it may be so: numbers without a gap, one end,
// nothing after it, as many tokens as the end says.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "silica/v1/inference.pb.h"

// The frames about a whole stream, those of generation 0.
class StreamLog {
 public:
  // Returns what is wrong; empty: nothing.
  std::string Take(const silica::v1::ServerFrame& frame);

 private:
  uint64_t sequence_ = 0;
};

class GenerationLog {
 public:
  GenerationLog(uint32_t tokens_wanted, bool keeps_tokens)
      : tokens_wanted_(tokens_wanted), keeps_tokens_(keeps_tokens) {}

  // Each returns what is wrong; empty: nothing.
  std::string Take(const silica::v1::ServerFrame& frame);
  std::string Take(const silica::v1::GenerateResponse& message);
  // Its stream is over, and its client did not end that.
  std::string End() const;

  // The client has sent a `cancel` frame.
  void NoteCancel() { is_cancelled_ = true; }

  bool is_accepted() const { return is_accepted_; }
  bool has_ended() const { return ends_ > 0; }
  bool has_ended_by_cancel() const { return has_ended_by_cancel_; }
  uint32_t token_count() const { return token_count_; }
  const std::vector<uint32_t>& tokens() const { return tokens_; }
  const std::string& text() const { return text_; }

 private:
  std::string TakeDelta(const silica::v1::Delta& delta);
  std::string TakeFinished(const silica::v1::Finished& finished);

  const uint32_t tokens_wanted_;
  const bool keeps_tokens_;
  bool is_accepted_ = false;
  bool is_cancelled_ = false;
  bool has_ended_by_cancel_ = false;
  bool was_refused_ = false;
  uint64_t sequence_ = 0;
  uint32_t token_count_ = 0;
  int ends_ = 0;
  std::vector<uint32_t> tokens_;
  std::string text_;
};
