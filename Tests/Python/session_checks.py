# SPDX-License-Identifier: Apache-2.0
"""Generations over `Session` and `Generate`, as a Python client on ordinary stubs sees them."""
import queue
import time

import grpc
from silica_client import ServerChecks, frame, generate, greedy, main, pb


class SessionChecks(ServerChecks):
    def session(self, starts, on_frame=lambda frame, outgoing: None, **options):
        """Runs generations to their end; gives the frames of each, in order."""
        outgoing = queue.Queue()
        for generation, start in starts.items():
            outgoing.put(frame(generation, start=start))
        left, frames = set(starts), {generation: [] for generation in starts}
        for received in self.stub.Session(iter(outgoing.get, None), timeout=40, **options):
            frames.setdefault(received.generation, []).append(received)
            on_frame(received, outgoing)
            if received.WhichOneof("frame") in ("finished", "failed"):
                left.discard(received.generation)
                if not left:
                    outgoing.put(None)
        return frames

    def text(self, frames):
        return "".join(f.delta.text for f in frames if f.HasField("delta"))

    def test_one_is_cancelled_and_the_others_finish_with_their_own_text(self):
        prompts = {1: "Once upon a time", 2: "The second", 3: "東京 is a city 🙂"}
        alone = {n: generate(self.stub, greedy(prompt))[0] for n, prompt in prompts.items()}
        starts = {n: greedy(prompt) for n, prompt in prompts.items()}
        starts[2].stopping.max_tokens = 4000
        cancels = [frame(2, cancel=pb.Cancel())]

        def cancel_the_second(received, outgoing):
            if received.generation == 2 and received.HasField("delta") and cancels:
                outgoing.put(cancels.pop())

        frames = self.session(starts, cancel_the_second)
        ends = {n: list_[-1].finished for n, list_ in frames.items() if n}
        self.assertEqual(ends[2].reason, pb.FINISH_REASON_CANCELLED)
        self.assertLess(ends[2].usage.generated_tokens, 4000)
        for n in (1, 3):
            self.assertEqual(ends[n].reason, pb.FINISH_REASON_LENGTH)
            self.assertEqual(ends[n].usage.generated_tokens, 24)
            self.assertEqual(self.text(frames[n]), alone[n])

    def test_frames_of_a_generation_are_numbered_and_in_order(self):
        frames = self.session({7: greedy(), 8: greedy("Something else")})
        for n in (7, 8):
            kinds = [f.WhichOneof("frame") for f in frames[n]]
            self.assertEqual([f.sequence for f in frames[n]], list(range(1, len(kinds) + 1)))
            self.assertEqual(kinds[0], "accepted")
            self.assertEqual(kinds[-1], "finished")
            self.assertEqual(kinds.count("accepted") + kinds.count("finished"), 2)
            ids = [i for f in frames[n] if f.HasField("delta") for i in f.delta.token_ids]
            self.assertEqual(len(ids), 24)

    def test_closing_the_sending_side_lets_generations_finish(self):
        frames = self.stub.Session(iter([frame(1, start=greedy())]), timeout=30)
        frames = [f for f in frames if not f.HasField("load")]
        self.assertEqual(frames[-1].finished.reason, pb.FINISH_REASON_LENGTH)

    def test_a_number_can_be_used_again_and_pings_are_answered(self):
        outgoing = queue.Queue()
        outgoing.put(frame(0, ping=pb.Ping(nonce=42)))
        outgoing.put(frame(5, start=greedy()))
        finished = 0
        nonces = []
        for received in self.stub.Session(iter(outgoing.get, None), timeout=30):
            if received.HasField("pong"):
                nonces.append(received.pong.nonce)
            if received.HasField("finished"):
                finished += 1
                outgoing.put(frame(5, start=greedy()) if finished == 1 else None)
        self.assertEqual((finished, nonces), (2, [42]))

    def test_a_session_is_told_of_the_load(self):
        outgoing = queue.Queue()
        outgoing.put(frame(1, start=greedy(tokens=4000)))
        loads = []
        for received in self.stub.Session(iter(outgoing.get, None), timeout=30):
            if received.HasField("load"):
                self.assertEqual(received.generation, 0)
                loads.append(received.load)
                if len(loads) == 2:
                    outgoing.put(frame(1, cancel=pb.Cancel()))
                    outgoing.put(None)
            if received.HasField("finished") and len(loads) < 2:
                outgoing.put(frame(1, start=greedy(tokens=4000)))
        self.assertGreaterEqual(len(loads), 2)
        self.assertTrue(all(0 <= load.kv_used <= 1 for load in loads))
        self.assertTrue(any(load.running > 0 for load in loads))

    def test_generate_gives_n_choices_and_an_account(self):
        start = greedy()
        start.sampling.temperature = 1
        start.sampling.seed = 7
        start.output.n = 3
        texts, ends = {}, {}
        for response in self.stub.Generate(pb.GenerateRequest(start=start), timeout=30):
            if response.HasField("delta"):
                index = response.delta.index
                texts[index] = texts.get(index, "") + response.delta.text
            if response.HasField("finished"):
                ends[response.finished.index] = response.finished
        self.assertEqual(set(ends), {0, 1, 2})
        self.assertEqual(len(set(texts.values())), 3)
        self.assertTrue(all(end.usage.prompt_tokens > 0 for end in ends.values()))
        self.assertTrue(all(end.timings.decode_us > 0 for end in ends.values()))

    def test_a_seed_repeats_its_text_and_a_stop_string_ends_it(self):
        start = greedy()
        start.sampling.temperature = 0.9
        start.sampling.seed = 11
        text, _ = generate(self.stub, start)
        self.assertEqual(generate(self.stub, start)[0], text)
        middle = len(text) // 2
        stop = text[middle:middle + 2]
        start.stopping.stop.append(stop)
        stopped, finished = generate(self.stub, start)
        self.assertEqual(finished.reason, pb.FINISH_REASON_STOP)
        self.assertEqual(finished.stop_string, stop)
        self.assertEqual(stopped, text[:text.index(stop)])

    def test_chat_and_logprobs(self):
        start = pb.Start()
        start.chat.messages.add(role=pb.ROLE_USER, content="Hello")
        start.sampling.temperature = 0
        start.stopping.max_tokens = 5
        start.output.logprobs = 2
        for response in self.stub.Generate(pb.GenerateRequest(start=start), timeout=30):
            delta = response.delta
            self.assertEqual(len(delta.logprobs), len(delta.token_ids))
            for token, logprobs in zip(delta.token_ids, delta.logprobs):
                self.assertEqual([top.token_id for top in logprobs.top][:1], [token])
                self.assertAlmostEqual(logprobs.top[0].logprob, logprobs.logprob, places=5)

    def test_metadata_is_no_obstacle(self):
        metadata = (("x-request-id", "abc"), ("trace-bin", bytes(range(256))))
        call = self.stub.GetModel.with_call(pb.GetModelRequest(), metadata=metadata, timeout=10)
        self.assertEqual(call[0].architecture, "DeepseekV3ForCausalLM")
        self.assertEqual(call[0].vocabulary_size, 1024)
        self.assertEqual(call[0].context_length, 4096)
        self.assertIs(call[1].code(), grpc.StatusCode.OK)
        call = self.stub.Generate(
            pb.GenerateRequest(start=greedy()), metadata=metadata, timeout=30
        )
        self.assertGreater(len(list(call)), 2)
        self.assertIs(call.code(), grpc.StatusCode.OK)

    def test_gzip_changes_nothing(self):
        text, _ = generate(self.stub, greedy("Once upon a time " * 20))
        gzip = grpc.Compression.Gzip
        start = greedy("Once upon a time " * 20)
        self.assertEqual(generate(self.stub, start, compression=gzip)[0], text)
        frames = self.session({1: start}, compression=gzip)
        self.assertEqual(self.text(frames[1]), text)

    def test_a_deadline_of_the_request_ends_the_generation(self):
        start = greedy(tokens=4000)
        start.limits.deadline_ms = 30
        before = time.monotonic()
        text, finished = generate(self.stub, start)
        self.assertEqual(finished.reason, pb.FINISH_REASON_DEADLINE)
        self.assertLess(time.monotonic() - before, 5)

    def test_a_deadline_of_the_call_ends_the_call(self):
        call = self.stub.Generate(pb.GenerateRequest(start=greedy(tokens=4000)), timeout=0.03)
        before = time.monotonic()
        try:
            ends = [r.finished.reason for r in call if r.HasField("finished")]
            self.assertEqual(ends, [pb.FINISH_REASON_DEADLINE])
        except grpc.RpcError as error:
            self.assertIs(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - before, 5)

    def test_a_cancelled_call_leaves_the_server_well(self):
        call = self.stub.Generate(pb.GenerateRequest(start=greedy(tokens=4000)), timeout=30)
        next(call)
        call.cancel()
        self.assertIs(call.code(), grpc.StatusCode.CANCELLED)
        self.assertEqual(generate(self.stub, greedy())[1].usage.generated_tokens, 24)


if __name__ == "__main__":
    main()
