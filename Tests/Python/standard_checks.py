# SPDX-License-Identifier: Apache-2.0
"""Health and reflection with the packages that other people made for them."""
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from silica_client import ServerChecks, main

SERVICES = [
    "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "silica.v1.Inference",
]


class HealthChecks(ServerChecks):
    def setUp(self):
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def request(self, service):
        return health_pb2.HealthCheckRequest(service=service)

    def test_check(self):
        for service in ["", "liveness", "readiness", "progress", *SERVICES]:
            response = self.health.Check(self.request(service), timeout=10)
            self.assertEqual(response.status, health_pb2.HealthCheckResponse.SERVING)
        with self.assertRaises(grpc.RpcError) as raised:
            self.health.Check(self.request("no.such.Service"), timeout=10)
        self.assertIs(raised.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_watch(self):
        for service, status in [
            ("", health_pb2.HealthCheckResponse.SERVING),
            ("no.such.Service", health_pb2.HealthCheckResponse.SERVICE_UNKNOWN),
        ]:
            watch = self.health.Watch(self.request(service), timeout=10)
            self.assertEqual(next(watch).status, status)
            watch.cancel()


class ReflectionChecks(ServerChecks):
    """v1, whose messages are those that grpcio-reflection has for v1alpha under another name."""

    def ask(self, *requests):
        call = self.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = [reflection_pb2.ServerReflectionRequest(**request) for request in requests]
        answers = list(call(iter(asked), timeout=10))
        self.assertEqual([answer.original_request for answer in answers], asked)
        return answers

    def pool(self, symbol):
        """Descriptors as the server describes them, and nothing from our own files."""
        (answer,) = self.ask({"file_containing_symbol": symbol})
        files = {}
        for bytes_ in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(bytes_)
            files[file.name] = file
        pool = descriptor_pool.DescriptorPool()

        def add(name):
            file = files.pop(name, None)
            if file:
                for dependency in file.dependency:
                    add(dependency)
                pool.Add(file)

        for name in list(files):
            add(name)
        return pool

    def test_services_are_listed(self):
        (answer,) = self.ask({"list_services": ""})
        names = [service.name for service in answer.list_services_response.service]
        self.assertEqual(names, SERVICES)

    def test_a_call_from_reflected_descriptors_alone(self):
        pool = self.pool("silica.v1.Inference")
        method = pool.FindServiceByName("silica.v1.Inference").methods_by_name["Generate"]
        request = message_factory.GetMessageClass(method.input_type)()
        request.start.token_ids.ids.extend([5, 6, 7])
        request.start.sampling.temperature = 0
        request.start.stopping.max_tokens = 3
        request.start.stopping.ignore_eos = True
        call = self.channel.unary_stream(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        responses = list(call(request, timeout=30))
        self.assertEqual(responses[0].accepted.prompt_tokens, 3)
        self.assertEqual(responses[-1].finished.usage.generated_tokens, 3)

    def test_every_service_and_message_is_described(self):
        for service in SERVICES:
            self.assertTrue(self.pool(service).FindServiceByName(service).methods)
        self.assertTrue(self.pool("google.rpc.BadRequest").FindMessageTypeByName(
            "google.rpc.BadRequest").fields)
        for symbol in ["silica.v1.ServerFrame", "silica.v1.Inference.Session"]:
            self.assertTrue(self.pool(symbol).FindFileByName("silica/v1/inference.proto"))

    def test_what_is_not_there(self):
        answers = self.ask(
            {"file_by_filename": "silica/v1/inference.proto"},
            {"file_by_filename": "no/such.proto"}, {"file_containing_symbol": "no.Such"}, {},
            {"all_extension_numbers_of_type": "silica.v1.Start"},
        )
        codes = [a.error_response.error_code for a in answers]
        self.assertEqual(codes, [0, 5, 5, 3, 5])
        self.assertTrue(answers[0].file_descriptor_response.file_descriptor_proto)


if __name__ == "__main__":
    main()
