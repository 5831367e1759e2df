// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Serving
import Support
import Testing
import Wire

/// Health, reflection and `GetModel`.
@Suite struct StandardServiceTests {
  @Test func `GetModel says what is served`() throws {
    let server = try TestServer()
    let (responses, status) = try server.exchange(Silica_V1_Inference.getModel, .init())
    #expect(status == .ok)
    let model = try #require(responses.first)
    #expect(model.name == "tiny")
    #expect(model.architecture == "DeepseekV3ForCausalLM")
    #expect(model.vocabularySize == 1_024)
    #expect(model.contextLength == 512)
    #expect(model.eosTokenIds == [1])
    #expect(model.device == "gated")
  }

  @Test(arguments: ["", "silica.v1.Inference", "grpc.health.v1.Health"])
  func `health knows the services`(service: String) throws {
    let server = try TestServer()
    let answer = try server.exchange(
      Grpc_Health_V1_Health.check, .with { $0.service = service })
    #expect(answer.status == .ok)
    #expect(answer.responses.map(\.status) == [.serving])
  }

  @Test func `health answers NOT_FOUND for a service that is not here`() throws {
    let server = try TestServer()
    let answer = try server.exchange(
      Grpc_Health_V1_Health.check, .with { $0.service = "x.Y" })
    #expect(answer.status.code == .notFound)
    #expect(answer.status.message.contains("'x.Y'"))
  }

  @Test func `a watch hears the status now, each change, and the end`() throws {
    let server = try TestServer()
    let known = try HealthWatch(server, "silica.v1.Inference")
    let unknown = try HealthWatch(server, "x.Y")
    let gone = try HealthWatch(server, "")
    #expect(try known.next() == .serving)
    #expect(try unknown.next() == .serviceUnknown)
    #expect(try gone.next() == .serving)
    try gone.call.cancel()
    server.server.refreshHealth()
    let stopper = PinnedThread(name: "stopper") { server.stop(grace: .seconds(5)) }
    #expect(try known.next() == .notServing)
    #expect(try known.next() == nil)
    #expect(try known.call.finish().status.code == .unavailable)
    #expect(try unknown.call.finish().status.code == .unavailable)
    _ = try gone.call.finish()
    stopper.join()
    // The thread may have let go of it before, and with it of the poller of these calls.
    withExtendedLifetime(server) {}
  }

  @Test(arguments: ["v1", "v1alpha"])
  func `reflection lists services and finds symbols and files`(version: String) throws {
    let server = try TestServer()
    let call = try BlockingCall(
      on: server.channel,
      path: "/grpc.reflection.\(version).ServerReflection/ServerReflectionInfo",
      deadline: testDeadline())
    func ask(
      _ request: Grpc_Reflection_V1_ServerReflectionRequest.OneOf_MessageRequest?
    ) throws -> Grpc_Reflection_V1_ServerReflectionResponse {
      let message = Grpc_Reflection_V1_ServerReflectionRequest.with {
        $0.host = "here"
        $0.messageRequest = request
      }
      try call.send(message.encoded())
      let bytes = try #require(try call.receive())
      let response = try Grpc_Reflection_V1_ServerReflectionResponse(decoding: bytes)
      #expect(response.originalRequest == message)
      #expect(response.validHost == "here")
      return response
    }
    #expect(
      try ask(.listServices("*")).listServicesResponse.service.map(\.name) == [
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "silica.v1.Inference",
      ])
    for symbol in ["silica.v1.Inference", "silica.v1.Inference.Session", "silica.v1.Delta"] {
      try expectInference(try ask(.fileContainingSymbol(symbol)).fileDescriptorResponse)
    }
    try expectInference(
      try ask(.fileByFilename("silica/v1/inference.proto")).fileDescriptorResponse)
    #expect(try ask(.fileContainingSymbol("silica.v1.Nothing")).errorResponse.errorCode == 5)
    #expect(try ask(.fileByFilename("nothing.proto")).errorResponse.errorCode == 5)
    #expect(try ask(.allExtensionNumbersOfType("x")).errorResponse.errorCode == 5)
    #expect(try ask(nil).errorResponse.errorCode == 3)
    try call.sendEnd()
    #expect(try call.finish().status == .ok)
  }

  /// The file itself comes first, then all that it imports: google.rpc.Status, and Any through it.
  private func expectInference(_ response: Grpc_Reflection_V1_FileDescriptorResponse) throws {
    let files = response.fileDescriptorProto
    let names = [
      "silica/v1/inference.proto", "google/rpc/status.proto", "google/protobuf/any.proto",
    ]
    try #require(files.count == names.count)
    for (file, name) in zip(files, names) {
      // Field 1 of a FileDescriptorProto is its name.
      #expect(Array(file.prefix(2 + name.utf8.count)) == [10, UInt8(name.utf8.count)] + name.utf8)
    }
  }
}
