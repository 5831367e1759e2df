// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Wire

/// One `ServerReflectionInfo` call: tells ordinary tools which services are here and how their
/// messages are made. Answers each request before it reads the next.
final class ReflectionHandler: ServerCallHandler {
  private let call: ServerCall
  private let index: DescriptorIndex

  init(call: ServerCall, index: DescriptorIndex) {
    self.call = call
    self.index = index
    call.read()
  }

  func received(_ message: RawSpan, on call: ServerCall) {
    do {
      let request = try Grpc_Reflection_V1_ServerReflectionRequest(decoding: message)
      var response = Grpc_Reflection_V1_ServerReflectionResponse()
      response.validHost = request.host
      response.originalRequest = request
      response.messageResponse = answer(request.messageRequest)
      call.send(response)
    } catch {
      call.finish(Status(.invalidArgument, "undecodable request: \(error)"))
    }
  }

  func receivedEnd(on call: ServerCall) { call.finish(.ok) }
  func readyToSend(on call: ServerCall) { call.read() }
  func ended(on call: ServerCall, wasCancelled: Bool) {}

  private func answer(
    _ request: Grpc_Reflection_V1_ServerReflectionRequest.OneOf_MessageRequest?
  ) -> Grpc_Reflection_V1_ServerReflectionResponse.OneOf_MessageResponse {
    switch request {
    case .fileByFilename(let name):
      files(index.file(named: name), missing: "file '\(name)'")
    case .fileContainingSymbol(let symbol):
      files(index.file(declaring: symbol), missing: "symbol '\(symbol)'")
    case .listServices:
      .listServicesResponse(
        .with { list in
          list.service = index.services.map { name in .with { $0.name = name } }
        })
    case .fileContainingExtension(let request):
      error(.notFound, "type '\(request.containingType)' has no extensions")
    case .allExtensionNumbersOfType(let type):
      error(.notFound, "type '\(type)' has no extensions")
    case nil:
      error(.invalidArgument, "the request asks for nothing")
    }
  }

  private func files(
    _ name: String?, missing: String
  ) -> Grpc_Reflection_V1_ServerReflectionResponse.OneOf_MessageResponse {
    guard let name else { return error(.notFound, "\(missing) is not known here") }
    return .fileDescriptorResponse(
      .with { $0.fileDescriptorProto = index.withDependencies(name) })
  }

  private func error(
    _ code: StatusCode, _ message: String
  ) -> Grpc_Reflection_V1_ServerReflectionResponse.OneOf_MessageResponse {
    .errorResponse(
      .with { error in
        error.errorCode = code.rawValue
        error.errorMessage = message
      })
  }
}
