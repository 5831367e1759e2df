// SPDX-License-Identifier: Apache-2.0
// What the load client says, and as much of what it hears as it has to know.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

enum class Method { kSession, kGenerate };

// What each generation asks for.
struct Request {
  uint32_t tokens = 256;
  uint32_t prompt_tokens = 1;
  // `output.delta_tokens_max`; 0 leaves it unset.
  uint32_t delta_tokens_max = 0;
  // `limits.resume_ms`; 0 leaves it unset.
  uint32_t resume_ms = 0;
};

// The method's name on the wire.
const char* PathOf(Method method);

// A `ClientFrame` or a `GenerateRequest` that starts a generation. `salt` makes prompts differ.
std::string EncodeStart(Method method, const Request& request, uint32_t generation, uint32_t salt);

// A message of the server.
struct Event {
  enum Kind { kOther, kDelta, kFinished, kFailed, kBroken };
  Kind kind = kOther;
  // Token ids in a delta.
  uint32_t tokens = 0;
};

// Reads a `ServerFrame` or a `GenerateResponse`, skipping what does not matter here.
Event Decode(Method method, const uint8_t* bytes, size_t size);
