// SPDX-License-Identifier: Apache-2.0
// A Silica client in C++, on the stubs of protobuf-compiler-grpc: one bidirectional stream, one
// generation for each prompt.
//
//   make -C Examples/cpp && Examples/cpp/build/client localhost:50051 "Write a haiku" "Count to 10"
#include <grpcpp/grpcpp.h>

#include <iostream>
#include <set>
#include <string>

#include "silica/v1/inference.grpc.pb.h"

namespace {

using silica::v1::ClientFrame;
using silica::v1::ServerFrame;

ClientFrame StartFrame(uint32_t generation, const std::string& prompt) {
  ClientFrame frame;
  frame.set_generation(generation);
  auto* start = frame.mutable_start();
  auto* message = start->mutable_chat()->add_messages();
  message->set_role(silica::v1::ROLE_USER);
  message->set_content(prompt);
  start->mutable_sampling()->set_temperature(0);
  start->mutable_stopping()->set_max_tokens(32);
  return frame;
}

// Prints a frame; returns whether it is the last one of its generation.
bool Show(const ServerFrame& frame) {
  const std::string head = "[" + std::to_string(frame.generation()) + "] ";
  switch (frame.frame_case()) {
    case ServerFrame::kDelta:
      std::cout << head << frame.delta().text() << std::endl;
      return false;
    case ServerFrame::kFinished:
      std::cout << head << silica::v1::FinishReason_Name(frame.finished().reason()) << ": "
                << frame.finished().usage().generated_tokens() << " tokens" << std::endl;
      return true;
    case ServerFrame::kFailed:
      std::cout << head << "failed: " << frame.failed().status().message() << std::endl;
      return !frame.failed().generation_continues();
    default:
      return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: client HOST:PORT PROMPT..." << std::endl;
    return 2;
  }
  auto channel = grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials());
  auto stub = silica::v1::Inference::NewStub(channel);
  grpc::ClientContext context;
  auto stream = stub->Session(&context);
  std::set<uint32_t> running;
  for (int i = 2; i < argc; ++i) {
    const uint32_t generation = i - 1;
    running.insert(generation);
    stream->Write(StartFrame(generation, argv[i]));
  }
  ServerFrame frame;
  while (!running.empty() && stream->Read(&frame)) {
    if (Show(frame)) running.erase(frame.generation());
  }
  stream->WritesDone();
  while (stream->Read(&frame)) {
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) std::cerr << "client: " << status.error_message() << std::endl;
  return status.ok() && running.empty() ? 0 : 1;
}
