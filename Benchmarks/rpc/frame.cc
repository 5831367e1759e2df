// SPDX-License-Identifier: Apache-2.0
#include "frame.h"

#include "silica/v1/inference.pb.h"

using namespace silica::v1;

const char* PathOf(Method method) {
  return method == Method::kSession ? "/silica.v1.Inference/Session"
                                    : "/silica.v1.Inference/Generate";
}

std::string EncodeStart(Method method, const Request& request, uint32_t generation, uint32_t salt) {
  Start start;
  for (uint32_t i = 0; i < request.prompt_tokens; ++i) {
    // Bytes of any tokenizer, the last one telling prompts apart.
    start.mutable_token_ids()->add_ids(32 + (i + 1 == request.prompt_tokens ? salt % 90 : i % 90));
  }
  start.mutable_sampling()->set_temperature(0);
  start.mutable_stopping()->set_max_tokens(request.tokens);
  start.mutable_stopping()->set_ignore_eos(true);
  start.mutable_output()->set_token_ids(true);
  if (request.delta_tokens_max > 0) {
    start.mutable_output()->set_delta_tokens_max(request.delta_tokens_max);
  }
  if (request.resume_ms > 0) start.mutable_limits()->set_resume_ms(request.resume_ms);
  if (method == Method::kGenerate) {
    GenerateRequest message;
    *message.mutable_start() = start;
    return message.SerializeAsString();
  }
  ClientFrame message;
  message.set_generation(generation);
  *message.mutable_start() = start;
  return message.SerializeAsString();
}

namespace {

// A field of a message on the wire; `bytes` and `size` are set for length-delimited ones.
struct Field {
  uint32_t number = 0;
  const uint8_t* bytes = nullptr;
  size_t size = 0;
};

class FieldReader {
 public:
  FieldReader(const uint8_t* bytes, size_t size) : next_(bytes), end_(bytes + size) {}

  // False at the end and on bytes that are no message.
  bool Next(Field* field) {
    uint64_t tag = 0, value = 0;
    if (next_ == end_ || !Varint(&tag)) return false;
    field->number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        return Varint(&value);
      case 1:
        return Skip(8);
      case 2:
        if (!Varint(&value) || value > static_cast<size_t>(end_ - next_)) return Broken();
        field->bytes = next_;
        field->size = value;
        next_ += value;
        return true;
      case 5:
        return Skip(4);
      default:
        return Broken();
    }
  }

  bool is_broken() const { return is_broken_; }

 private:
  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && next_ < end_; shift += 7) {
      const uint8_t byte = *next_++;
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return Broken();
  }

  bool Skip(size_t count) {
    if (static_cast<size_t>(end_ - next_) < count) return Broken();
    next_ += count;
    return true;
  }

  bool Broken() {
    is_broken_ = true;
    next_ = end_;
    return false;
  }

  const uint8_t* next_;
  const uint8_t* const end_;
  bool is_broken_ = false;
};

uint32_t CountTokens(const Field& delta) {
  FieldReader reader(delta.bytes, delta.size);
  Field field;
  uint32_t tokens = 0;
  while (reader.Next(&field)) {
    if (field.number != Delta::kTokenIdsFieldNumber) continue;
    // Packed varints: each ends with a byte below 0x80.
    for (size_t i = 0; i < field.size; ++i) tokens += field.bytes[i] < 0x80;
  }
  return tokens;
}

}  // namespace

Event Decode(Method method, const uint8_t* bytes, size_t size) {
  const bool is_session = method == Method::kSession;
  const uint32_t delta = is_session ? static_cast<uint32_t>(ServerFrame::kDeltaFieldNumber)
                                    : static_cast<uint32_t>(GenerateResponse::kDeltaFieldNumber);
  const uint32_t finished =
      is_session ? static_cast<uint32_t>(ServerFrame::kFinishedFieldNumber)
                 : static_cast<uint32_t>(GenerateResponse::kFinishedFieldNumber);
  Event event;
  FieldReader reader(bytes, size);
  Field field;
  while (reader.Next(&field)) {
    if (field.number == delta) {
      event.kind = Event::kDelta;
      event.tokens = CountTokens(field);
    } else if (field.number == finished) {
      event.kind = Event::kFinished;
    } else if (is_session && field.number == ServerFrame::kFailedFieldNumber) {
      event.kind = Event::kFailed;
    }
  }
  if (reader.is_broken()) event.kind = Event::kBroken;
  return event;
}
