// SPDX-License-Identifier: Apache-2.0
#include "statistics.h"

#include "call.h"
#include "silica/v1/inference.pb.h"

namespace {

class Question : public Call {
 public:
  using Call::Call;

  void Ask() {
    Open("/silica.v1.Inference/GetStatistics");
    Send("");
    Close();
  }

  SendLatency answer;

 private:
  void Received(const uint8_t* bytes, size_t size) override {
    silica::v1::GetStatisticsResponse response;
    if (!response.ParseFromArray(bytes, static_cast<int>(size))) return;
    const silica::v1::Latency& latency = response.send_latency();
    answer = {latency.count(), latency.p50_us(), latency.p90_us(), latency.p99_us(),
              latency.max_us()};
  }

  void Ended(grpc_status_code, const std::string&) override {}
};

}  // namespace

SendLatency AskSendLatency(grpc_channel* channel, grpc_completion_queue* queue) {
  Question question(channel, queue);
  question.Ask();
  while (!question.is_over()) {
    const grpc_event event =
        grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
    if (event.type == GRPC_OP_COMPLETE) Call::Complete(event);
  }
  return question.answer;
}
