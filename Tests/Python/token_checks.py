# SPDX-License-Identifier: Apache-2.0
"""Checks of a server with TLS and tokens, of whose tenants one may begin two generations at once:
HOST:PORT CA TOKEN."""
import pathlib
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from silica_client import ServerChecks, error_of, frame, greedy, main, pb, pb_grpc


class TokenChecks(ServerChecks):
    authorities = ""
    token = ""

    @classmethod
    def channel_with(cls, token):
        credentials = grpc.ssl_channel_credentials(pathlib.Path(cls.authorities).read_bytes())
        if token:
            credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(token))
        return grpc.secure_channel(cls.target, credentials)

    @classmethod
    def setUpClass(cls):
        cls.channel = cls.channel_with(cls.token)
        cls.stub = pb_grpc.InferenceStub(cls.channel)

    def test_1_without_a_token(self):
        for token in (None, "something else"):
            with self.channel_with(token) as channel:
                stub = pb_grpc.InferenceStub(channel)
                code, _, details = error_of(
                    stub.Generate(pb.GenerateRequest(start=greedy()), timeout=10))
                self.assertEqual(code, grpc.StatusCode.UNAUTHENTICATED)
                self.assertIn("ErrorInfo", details)
                health = health_pb2_grpc.HealthStub(channel)
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
                self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING)

    def test_2_over_the_rate(self):
        frames = [frame(key, start=greedy(tokens=4)) for key in (1, 2, 3)]
        ends = {}
        for answer in self.stub.Session(iter(frames), timeout=30):
            if answer.WhichOneof("frame") in ("finished", "failed"):
                ends[answer.generation] = answer
        self.assertEqual(ends[1].WhichOneof("frame"), "finished")
        self.assertEqual(ends[2].WhichOneof("frame"), "finished")
        self.assertEqual(ends[3].failed.status.code, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        code, _, details = error_of(
            self.stub.Generate(pb.GenerateRequest(start=greedy(tokens=4)), timeout=10))
        self.assertEqual(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertGreater(details["RetryInfo"].retry_delay.ToMilliseconds(), 0)


if __name__ == "__main__":
    TokenChecks.token = sys.argv.pop()
    TokenChecks.authorities = sys.argv.pop()
    main()
