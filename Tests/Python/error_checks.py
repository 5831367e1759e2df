# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: a status with typed details, and nothing else is harmed."""
import queue
import threading

import grpc
from silica_client import (
    ServerChecks, details, error_of, frame, generate, greedy, main, pb,
)

Code = grpc.StatusCode


def changed(change):
    start = greedy()
    change(start)
    return start


class ErrorChecks(ServerChecks):
    def refusal(self, start):
        return error_of(self.stub.Generate(pb.GenerateRequest(start=start), timeout=30))

    def assert_field(self, change, field, *words, code=Code.INVALID_ARGUMENT):
        """The field is named in BadRequest, and the message says what it holds."""
        found, message, typed = self.refusal(changed(change))
        self.assertIs(found, code, message)
        violation = typed["BadRequest"].field_violations[0]
        self.assertEqual(violation.field, field)
        self.assertEqual(typed["ErrorInfo"].domain, "silica")
        for word in words:
            self.assertIn(word, message)

    def test_sampling_values_out_of_range(self):
        for name, value, word in [
            ("top_p", 1.5, "1.5"), ("top_p", 0, "0"), ("temperature", -1, "-1"),
            ("temperature", float("nan"), "nan"), ("min_p", 2, "2"),
            ("repetition_penalty", 0, "0"), ("presence_penalty", 3, "3"),
            ("frequency_penalty", -3, "-3"),
        ]:
            self.assert_field(
                lambda start: setattr(start.sampling, name, value), f"start.sampling.{name}", word
            )

    def test_stopping_and_output(self):
        self.assert_field(
            lambda s: setattr(s.stopping, "max_tokens", 0), "start.stopping.max_tokens", "0"
        )
        self.assert_field(
            lambda s: setattr(s.stopping, "min_tokens", 25), "start.stopping.min_tokens", "24"
        )
        self.assert_field(lambda s: s.stopping.stop.append(""), "start.stopping.stop[0]")
        self.assert_field(lambda s: setattr(s.output, "n", 1000), "start.output.n", "1000")
        self.assert_field(
            lambda s: setattr(s.output, "logprobs", 999), "start.output.logprobs", "999"
        )

    def test_inputs(self):
        self.assert_field(lambda s: s.ClearField("text"), "start.input")
        self.assert_field(lambda s: setattr(s, "text", ""), "start.text", "empty")
        self.assert_field(lambda s: s.token_ids.SetInParent(), "start.token_ids", "empty")
        self.assert_field(lambda s: s.chat.SetInParent(), "start.chat.messages", "empty")
        self.assert_field(
            lambda s: s.token_ids.ids.extend([1, 1024]), "start.token_ids.ids", "1024", "1023",
            code=Code.OUT_OF_RANGE,
        )
        self.assert_field(
            lambda s: s.chat.messages.add(content="no role"), "start.chat.messages[0].role"
        )
        self.assert_field(
            lambda s: setattr(s, "model", "gpt"), "start.model", "gpt", code=Code.NOT_FOUND
        )

    def test_a_prompt_longer_than_the_context(self):
        code, message, _ = self.refusal(changed(lambda s: s.token_ids.ids.extend([9] * 5000)))
        self.assertIn(code, (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE))
        self.assertIn("5000", message)
        self.assertIn("4096", message.replace("4095", "4096"))

    def failures(self, *frames):
        """The failures that frames get on a stream where a good generation (1) runs."""
        outgoing = queue.Queue()
        outgoing.put(frame(1, start=greedy(tokens=4000)))
        for one in frames:
            outgoing.put(one)
        failed, finished = [], None
        for received in self.stub.Session(iter(outgoing.get, None), timeout=30):
            if received.HasField("failed"):
                failed.append(received)
            if received.generation == 1 and received.HasField("finished"):
                finished = received.finished
            if len(failed) == len(frames) and finished:
                outgoing.put(None)
        self.assertEqual(finished.usage.generated_tokens, 4000)
        return [(f.generation, f.failed.status, f.failed.generation_continues) for f in failed]

    def test_frames_that_cannot_be_taken(self):
        unknown = pb.ClientFrame.FromString(bytes([8, 1, 0xFA, 6, 0]))
        found = self.failures(
            frame(1, start=greedy()), frame(9, cancel=pb.Cancel()), unknown,
            frame(1, credit=pb.Credit()), frame(3, resume=pb.Resume(token="a")),
            frame(0, start=greedy()), frame(4, start=pb.Start()),
        )
        reasons = [details(status)["ErrorInfo"].reason for _, status, _ in found]
        self.assertEqual(
            reasons,
            ["GENERATION_IN_USE", "UNKNOWN_GENERATION", "UNKNOWN_FRAME", "INVALID_FIELD",
             "UNKNOWN_GENERATION", "INVALID_FIELD", "INVALID_FIELD"],
        )
        self.assertEqual([n for n, _, _ in found], [1, 9, 1, 1, 3, 0, 4])
        self.assertEqual(
            [goes_on for _, _, goes_on in found], [True, False, True, True, False, False, False]
        )

    def test_a_frame_of_garbage_leaves_the_stream(self):
        session = self.channel.stream_stream(
            "/silica.v1.Inference/Session",
            request_serializer=lambda bytes_: bytes_,
            response_deserializer=pb.ServerFrame.FromString,
        )
        good = frame(1, start=greedy()).SerializeToString()
        frames = list(session(iter([b"\xff" * 40, good]), timeout=30))
        frames = [f for f in frames if not f.HasField("load")]
        self.assertEqual(frames[0].failed.status.code, Code.INVALID_ARGUMENT.value[0])
        self.assertTrue(frames[-1].HasField("finished"))

    def test_garbage_as_the_only_request(self):
        call = self.channel.unary_stream("/silica.v1.Inference/Generate")
        self.assertIs(error_of(call(b"\x0a\xff", timeout=10))[0], Code.INVALID_ARGUMENT)
        call = self.channel.unary_stream("/silica.v1.Inference/Nothing")
        self.assertIs(error_of(call(b"", timeout=10))[0], Code.UNIMPLEMENTED)

    def test_a_frame_of_100_megabytes(self):
        texts = []
        beside = threading.Thread(
            target=lambda: texts.append(generate(self.stub, greedy(tokens=200))[0])
        )
        beside.start()
        huge = frame(1, start=pb.Start(text="a" * (100 << 20)))
        code, message, _ = error_of(self.stub.Session(iter([huge]), timeout=30))
        self.assertIs(code, Code.RESOURCE_EXHAUSTED, message)
        beside.join()
        self.assertEqual(texts[0], generate(self.stub, greedy(tokens=200))[0])

    def test_overload_is_refused_with_the_time_to_try_again(self):
        busy = [self.stub.Session(iter(self.starts(256)), timeout=30) for _ in range(2)]
        refused = None
        for received in busy[1]:
            if received.HasField("failed"):
                refused = received.failed.status
                break
        for call in busy:
            call.cancel()
        self.assertEqual(refused.code, Code.RESOURCE_EXHAUSTED.value[0])
        delay = details(refused)["RetryInfo"].retry_delay
        self.assertGreater(delay.seconds + delay.nanos, 0)

    def starts(self, count):
        for number in range(1, count + 1):
            yield frame(number, start=greedy(tokens=4000))

    def test_a_full_stream_is_refused_with_the_time_to_try_again(self):
        call = self.stub.Session(iter(self.starts(260)), timeout=30)
        for received in call:
            if received.generation > 256 and received.HasField("failed"):
                break
        call.cancel()
        typed = details(received.failed.status)
        self.assertEqual(typed["ErrorInfo"].reason, "STREAM_FULL")
        self.assertIn("RetryInfo", typed)


if __name__ == "__main__":
    main()
