# SPDX-License-Identifier: Apache-2.0
"""What gRPC itself promises: reflection-driven calls, compression, metadata, its own test cases."""
import gzip
import struct
import threading
import time
import zlib

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from http2_client import Http2Call
from silica_client import ServerChecks, error_of, frame, generate, greedy, main, pb, pb_grpc

Code = grpc.StatusCode
MESSAGE_LIMIT = 16 << 20


class ReflectionClient(ServerChecks):
    """A client that knows no proto file: what it calls is made of what the server says."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.database = ProtoReflectionDescriptorDatabase(cls.channel)
        cls.pool = descriptor_pool.DescriptorPool(cls.database)

    def method(self, service, name):
        """A method's path, and the classes of its messages."""
        method = self.pool.FindServiceByName(service).FindMethodByName(name)
        types = (method.input_type, method.output_type)
        classes = [message_factory.GetMessageClass(kind) for kind in types]
        return f"/{service}/{name}", *classes

    def test_every_listed_service_is_described(self):
        services = self.database.get_services()
        self.assertIn("silica.v1.Inference", services)
        for service in services:
            self.assertTrue(self.pool.FindServiceByName(service).methods)

    def test_a_session(self):
        path, request, response = self.method("silica.v1.Inference", "Session")
        sent = []
        for number in (1, 2):
            message = request(generation=number)
            message.start.token_ids.ids.extend([5, 6, 7])
            message.start.sampling.temperature = 0
            message.start.stopping.max_tokens = 3
            message.start.stopping.ignore_eos = True
            sent.append(message)
        call = self.channel.stream_stream(
            path, request_serializer=request.SerializeToString,
            response_deserializer=response.FromString)
        frames = list(call(iter(sent), timeout=30))
        ends = {f.generation: f.finished for f in frames if f.HasField("finished")}
        self.assertEqual({n: e.usage.generated_tokens for n, e in ends.items()}, {1: 3, 2: 3})

    def test_an_error_whose_details_are_read_with_reflected_classes(self):
        path, request, response = self.method("silica.v1.Inference", "Generate")
        call = self.channel.unary_stream(
            path, request_serializer=request.SerializeToString,
            response_deserializer=response.FromString)
        with self.assertRaises(grpc.RpcError) as raised:
            list(call(request(), timeout=30))
        packed = rpc_status.from_call(raised.exception).details[1]
        name = packed.type_url.rpartition("/")[2]
        violation = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))
        self.assertEqual(
            violation.FromString(packed.value).field_violations[0].field, "start.input")


class CompressionChecks(ServerChecks):
    def test_gzip_and_deflate_change_nothing(self):
        start = greedy("Once upon a time " * 20)
        text, _ = generate(self.stub, start)
        for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            self.assertEqual(generate(self.stub, start, compression=algorithm)[0], text)
            call = self.stub.Session(
                iter([frame(1, start=start)]), compression=algorithm, timeout=30)
            self.assertEqual("".join(f.delta.text for f in call), text)
            self.stub.GetModel(pb.GetModelRequest(), compression=algorithm, timeout=10)

    def test_a_channel_whose_default_is_gzip(self):
        with grpc.insecure_channel(self.target, compression=grpc.Compression.Gzip) as channel:
            text, end = generate(pb_grpc.InferenceStub(channel), greedy("a" * 2000))
            self.assertEqual(end.usage.generated_tokens, 24)

    def test_a_client_that_takes_every_encoding_gets_one_it_knows(self):
        call = Http2Call(self.target, "/silica.v1.Inference/GetModel", {
            "grpc-accept-encoding": "identity,deflate,gzip"})
        call.send(message(b""))
        call.end()
        answer = call.finish()
        self.assertEqual(answer.status, 0)
        self.assertIn(answer.headers.get("grpc-encoding", "identity"), ("identity", "gzip"))

    def test_compressed_messages_and_plain_ones_on_one_stream(self):
        ping = frame(0, ping=pb.Ping(nonce=42)).SerializeToString()
        call = Http2Call(self.target, "/silica.v1.Inference/Session", {"grpc-encoding": "gzip"})
        call.send(message(gzip.compress(ping), compressed=True))
        call.send(message(ping))
        call.end()
        answer = call.finish()
        self.assertEqual(answer.status, 0)
        nonces = [pb.ServerFrame.FromString(m).pong.nonce for m in answer.messages]
        self.assertEqual(nonces, [42, 42])

    def test_what_cannot_be_decompressed(self):
        for encoding, body in [
            ("gzip", b"not gzip at all"), ("gzip", gzip.compress(b"x" * 99)[:-9]),
            ("gzip", gzip.compress(b"") + b"more"), ("deflate", b"\xff" * 20),
        ]:
            answer = self.compressed_call(encoding, body)
            self.assertEqual(answer.status, 13, (encoding, body))
        self.assertEqual(self.compressed_call("gzip", b"").status, 0)
        # C-core drops the name of an encoding that it does not know, and takes the bytes as plain.
        self.assertIn(self.compressed_call("snappy", b"abc").status, (3, 12))

    def compressed_call(self, encoding, body):
        call = Http2Call(self.target, "/silica.v1.Inference/GetModel", {"grpc-encoding": encoding})
        call.send(message(body, compressed=True))
        call.end()
        return call.finish()

    def test_a_message_that_grows_beyond_the_limit(self):
        """Under the limit as it is sent, far over it once decompressed."""
        for encoding, wrap in [("gzip", 31), ("deflate", 15)]:
            squeeze = zlib.compressobj(9, zlib.DEFLATED, wrap)
            bomb = squeeze.compress(bytes(256 << 20)) + squeeze.flush()
            self.assertLess(len(bomb), 1 << 20)
            answer = self.compressed_call(encoding, bomb)
            self.assertEqual(answer.status, 8, answer.message)
            self.assertIn(str(MESSAGE_LIMIT), answer.message)


class MetadataChecks(ServerChecks):
    def test_bytes_repeated_keys_and_empty_values(self):
        metadata = (
            ("x-request-id", "1"), ("x-request-id", "2"), ("x-empty", ""),
            ("trace-bin", bytes(range(256))), ("trace-bin", b""),
        )
        for call in (
            self.stub.GetModel.with_call(pb.GetModelRequest(), metadata=metadata, timeout=10)[1],
            self.stub.Generate(pb.GenerateRequest(start=greedy()), metadata=metadata, timeout=30),
        ):
            list(call) if hasattr(call, "__next__") else None
            self.assertIs(call.code(), Code.OK)

    def test_values_that_are_no_text_harm_nobody(self):
        """Raw bytes where HTTP/2 wants ASCII: the call may be refused, the connection answers."""
        for value in (b"\xff\xfe", "東京".encode(), b"tab\tin it", b"nul\0", b"line\r\nbreak: 1"):
            call = Http2Call(self.target, "/silica.v1.Inference/GetModel", {"x-odd": value})
            call.send(message(b""))
            call.end()
            answer = call.finish()
            self.assertTrue(answer.status is not None or answer.was_reset or answer.was_closed)
        self.stub.GetModel(pb.GetModelRequest(), timeout=10)

    def test_bytes_that_are_no_base64_under_a_binary_key(self):
        call = Http2Call(self.target, "/silica.v1.Inference/GetModel", {"trace-bin": b"!!! ~"})
        call.send(message(b""))
        call.end()
        call.finish()
        self.stub.GetModel(pb.GetModelRequest(), timeout=10)

    def test_trailers_decode_into_typed_details(self):
        bad = greedy()
        bad.sampling.top_p = 2
        with self.assertRaises(grpc.RpcError) as raised:
            list(self.stub.Generate(pb.GenerateRequest(start=bad), timeout=10))
        keys = [key for key, _ in raised.exception.trailing_metadata()]
        self.assertEqual(keys.count("grpc-status-details-bin"), 1)
        status = rpc_status.from_call(raised.exception)
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        self.assertTrue(status.details[0].Unpack(info) and status.details[1].Unpack(request))
        self.assertEqual((info.reason, info.domain), ("INVALID_FIELD", "silica"))
        self.assertEqual(request.field_violations[0].field, "start.sampling.top_p")
        self.assertEqual(request.field_violations[0].description, raised.exception.details())


class GrpcCases(ServerChecks):
    """Of gRPC's interoperability test cases, those with a meaning here."""

    def test_empty_stream(self):
        call = self.stub.Session(iter([]), timeout=10)
        self.assertEqual((list(call), call.code()), ([], Code.OK))

    def test_cancel_after_begin(self):
        never = threading.Event()
        call = self.stub.Session(iter(never.wait, None), timeout=10)
        call.cancel()
        self.assertIs(call.code(), Code.CANCELLED)
        never.set()

    def test_cancel_after_first_response(self):
        start = frame(1, start=greedy(tokens=4000))
        call = self.stub.Session(iter([start]), timeout=10)
        next(call)
        call.cancel()
        self.assertIs(call.code(), Code.CANCELLED)

    def test_timeout_on_sleeping_server(self):
        never = threading.Event()
        before = time.monotonic()
        code = error_of(self.stub.Session(iter(never.wait, None), timeout=0.05))[0]
        never.set()
        self.assertIs(code, Code.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - before, 5)

    def test_unimplemented_method_and_service(self):
        for path in ("/silica.v1.Inference/Nothing", "/no.such.Service/Nothing", "/", "/a/b/c"):
            code, text, _ = error_of(lambda: self.channel.unary_stream(path)(b"", timeout=10))
            self.assertEqual((code, text), (Code.UNIMPLEMENTED, f"unknown method {path}"))
        long = "/" + "long" * 2000
        code, text, _ = error_of(lambda: self.channel.unary_stream(long)(b"", timeout=10))
        self.assertIs(code, Code.UNIMPLEMENTED)
        self.assertLess(len(text), 400)

    def test_special_status_message(self):
        special = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n%25"
        start = greedy(model=special)
        code, text, _ = error_of(self.stub.Generate(pb.GenerateRequest(start=start), timeout=10))
        self.assertIs(code, Code.NOT_FOUND)
        self.assertIn(special, text)

    def test_large_requests(self):
        """A message of the limit's size is taken, one more byte is refused, the channel lives."""
        for size, expected in [(MESSAGE_LIMIT, None), (MESSAGE_LIMIT + 1, Code.RESOURCE_EXHAUSTED)]:
            call = self.channel.unary_unary("/silica.v1.Inference/GetModel")
            try:
                call(unknown_field(size), timeout=20)
                code = None
            except grpc.RpcError as error:
                code = error.code()
            self.assertIs(code, expected)
        self.stub.GetModel(pb.GetModelRequest(), timeout=10)

    def test_a_unary_call_with_two_requests(self):
        call = Http2Call(self.target, "/silica.v1.Inference/GetModel", {})
        call.send(message(b""))
        call.send(message(b""))
        call.end()
        self.assertIsNotNone(call.finish().status)


def message(body, compressed=False):
    """A message with gRPC's prefix."""
    return struct.pack(">BI", compressed, len(body)) + body


def unknown_field(size):
    """A protobuf message of this size whose one field nobody knows."""
    length = size - 6
    return b"\xfa\x06" + bytes(
        [length >> shift & 0x7F | (0x80 if shift < 21 else 0) for shift in (0, 7, 14, 21)]
    ) + b"a" * length


if __name__ == "__main__":
    main()
