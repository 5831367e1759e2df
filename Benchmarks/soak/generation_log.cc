// SPDX-License-Identifier: Apache-2.0
#include "generation_log.h"

using namespace silica::v1;

namespace {
constexpr int kNotFound = 5;  // google.rpc.Code
}

std::string StreamLog::Take(const ServerFrame& frame) {
  if (!frame.has_load()) return "an unexpected frame: " + frame.ShortDebugString();
  return frame.sequence() == ++sequence_ ? "" : "a gap in the stream's own frames";
}

std::string GenerationLog::Take(const ServerFrame& frame) {
  const Failed& failed = frame.failed();
  // A `cancel` that met the end on its way is refused, once, by a frame about no generation.
  if (ends_ == 1 && is_cancelled_ && !was_refused_ && frame.has_failed() &&
      failed.status().code() == kNotFound) {
    was_refused_ = true;
    return "";
  }
  if (ends_ > 0) return "a frame after the end: " + frame.ShortDebugString();
  if (frame.sequence() != sequence_ + 1) {
    return "frame " + std::to_string(frame.sequence()) + " follows " + std::to_string(sequence_);
  }
  sequence_ = frame.sequence();
  switch (frame.frame_case()) {
    case ServerFrame::kAccepted:
      if (is_accepted_) return "accepted twice";
      is_accepted_ = true;
      return "";
    case ServerFrame::kProgress:
      return "";
    case ServerFrame::kDelta:
      return TakeDelta(frame.delta());
    case ServerFrame::kFinished:
      return TakeFinished(frame.finished());
    case ServerFrame::kFailed:
      if (!failed.generation_continues()) ++ends_;
      return "failed: " + failed.status().message();
    default:
      return "an unexpected frame: " + frame.ShortDebugString();
  }
}

std::string GenerationLog::Take(const GenerateResponse& message) {
  if (ends_ > 0) return "a message after the end: " + message.ShortDebugString();
  switch (message.event_case()) {
    case GenerateResponse::kAccepted:
      if (is_accepted_) return "accepted twice";
      is_accepted_ = true;
      return "";
    case GenerateResponse::kProgress:
      return "";
    case GenerateResponse::kDelta:
      return TakeDelta(message.delta());
    case GenerateResponse::kFinished:
      return TakeFinished(message.finished());
    default:
      return "an unexpected message: " + message.ShortDebugString();
  }
}

std::string GenerationLog::TakeDelta(const Delta& delta) {
  if (!is_accepted_) return "a delta before accepted";
  token_count_ += static_cast<uint32_t>(delta.token_ids_size());
  if (keeps_tokens_) {
    tokens_.insert(tokens_.end(), delta.token_ids().begin(), delta.token_ids().end());
    text_ += delta.text();
  }
  return delta.token_ids_size() > 0 ? "" : "a delta without tokens";
}

std::string GenerationLog::TakeFinished(const Finished& finished) {
  ++ends_;
  has_ended_by_cancel_ = finished.reason() == FINISH_REASON_CANCELLED;
  if (has_ended_by_cancel_ && !is_cancelled_) return "cancelled by nobody";
  if (!has_ended_by_cancel_ && finished.reason() != FINISH_REASON_LENGTH) {
    return "ended with " + FinishReason_Name(finished.reason());
  }
  if (!has_ended_by_cancel_ && token_count_ != tokens_wanted_) {
    return std::to_string(token_count_) + " tokens of " + std::to_string(tokens_wanted_);
  }
  const uint32_t said = finished.usage().generated_tokens();
  if (said != token_count_) {
    return std::to_string(token_count_) + " tokens came, the end says " + std::to_string(said);
  }
  return "";
}

std::string GenerationLog::End() const {
  return ends_ == 1 ? "" : "its stream ended without its end";
}
